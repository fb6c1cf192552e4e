/** JSON Schema, as much of it as the controller's messages need: what they are checked by is what its document shows. */

export type Schema =
  | { readonly $ref: string }
  | { readonly anyOf: readonly Schema[]; readonly description?: string }
  | ({ readonly description?: string } & (
      | { readonly type: 'null' | 'boolean' }
      | { readonly type: 'integer'; readonly minimum?: number; readonly maximum?: number; readonly default?: number }
      | {
          readonly type: 'string';
          readonly minLength?: number;
          readonly maxLength?: number;
          readonly enum?: readonly string[];
          readonly format?: string;
        }
      | { readonly type: 'array'; readonly items: Schema; readonly maxItems?: number }
      | {
          readonly type: 'object';
          readonly properties: Readonly<Record<string, Schema>>;
          readonly required?: readonly string[];
          readonly additionalProperties: boolean;
        }
    ));

export type Schemas = Readonly<Record<string, Schema>>;

const REF = '#/components/schemas/';

export const ref = (name: string): Schema => ({ $ref: REF + name });
export const nullable = (schema: Schema): Schema => ({ anyOf: [schema, { type: 'null' }] });

/** What is wrong with a value, beginning with where; null = it fits. */
export function misfit(schemas: Schemas, schema: Schema, value: unknown, at = 'body'): string | null {
  if ('$ref' in schema) return misfit(schemas, schemas[schema.$ref.slice(REF.length)]!, value, at);
  if ('anyOf' in schema) {
    const wrongs = schema.anyOf.map((each) => misfit(schemas, each, value, at));
    return wrongs.includes(null) ? null : wrongs[0]!;
  }
  switch (schema.type) {
    case 'null':
      return value === null ? null : `${at} is not null`;
    case 'boolean':
      return typeof value === 'boolean' ? null : `${at} is neither true nor false`;
    case 'integer': {
      const { minimum = Number.MIN_SAFE_INTEGER, maximum = Number.MAX_SAFE_INTEGER } = schema;
      const fits = Number.isSafeInteger(value) && (value as number) >= minimum && (value as number) <= maximum;
      return fits ? null : `${at} is no whole number from ${minimum} to ${maximum}`;
    }
    case 'string': {
      if (typeof value !== 'string') return `${at} is no text`;
      const { minLength = 0, maxLength = Number.POSITIVE_INFINITY, enum: allowed } = schema;
      if (allowed !== undefined && !allowed.includes(value)) return `${at} is none of ${allowed.join(', ')}`;
      return value.length < minLength || value.length > maxLength ? `${at} is too short or too long` : null;
    }
    case 'array': {
      if (!Array.isArray(value)) return `${at} is no list`;
      if (value.length > (schema.maxItems ?? Number.POSITIVE_INFINITY)) return `${at} is too long a list`;
      return firstOf(value.map((item, i) => () => misfit(schemas, schema.items, item, `${at}[${i}]`)));
    }
    case 'object': {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return `${at} is no object`;
      const absent = (schema.required ?? []).find((name) => !Object.hasOwn(value, name));
      if (absent !== undefined) return `${at}.${absent} is missing`;
      return firstOf(
        Object.entries(value).map(([name, field]) => () => {
          if (Object.hasOwn(schema.properties, name)) {
            return misfit(schemas, schema.properties[name]!, field, `${at}.${name}`);
          }
          return schema.additionalProperties ? null : `${at}.${name.slice(0, 64)} is not known`;
        }),
      );
    }
  }
}

function firstOf(checks: readonly (() => string | null)[]): string | null {
  for (const check of checks) {
    const wrong = check();
    if (wrong !== null) return wrong;
  }
  return null;
}
