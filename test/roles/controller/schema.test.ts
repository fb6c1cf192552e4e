import { describe, expect, it } from 'vitest';
import { misfit, nullable, ref, type Schema } from '../../../src/roles/controller/schema.ts';

const schemas = { Name: { type: 'string', minLength: 1, maxLength: 3 } } as const;
const object: Schema = {
  type: 'object',
  properties: { name: ref('Name'), count: { type: 'integer', minimum: 1, maximum: 9 } },
  required: ['name'],
  additionalProperties: false,
};

describe('a value', () => {
  it.each<[Schema, unknown]>([
    [object, { name: 'abc', count: 9 }],
    [object, { name: 'a' }],
    [nullable(ref('Name')), null],
    [nullable(ref('Name')), 'abc'],
    [{ type: 'array', items: { type: 'boolean' }, maxItems: 2 }, [true, false]],
    [{ type: 'string', enum: ['x'] }, 'x'],
    [{ type: 'object', properties: {}, additionalProperties: true }, { anything: 1 }],
  ])('fits %j: %j', (schema, value) => {
    expect(misfit(schemas, schema, value)).toBeNull();
  });

  it.each<[Schema, unknown, string]>([
    [object, { count: 1 }, 'body.name is missing'],
    [object, { name: 'abcd' }, 'body.name is too short or too long'],
    [object, { name: '' }, 'body.name is too short or too long'],
    [object, { name: 'a', count: 10 }, 'body.count is no whole number from 1 to 9'],
    [object, { name: 'a', count: 1.5 }, 'body.count is no whole number from 1 to 9'],
    [object, { name: 'a', other: 1 }, 'body.other is not known'],
    [object, JSON.parse('{"name":"a","__proto__":1}'), 'body.__proto__ is not known'],
    [object, { name: 'a', constructor: 1 }, 'body.constructor is not known'],
    [object, [], 'body is no object'],
    [object, null, 'body is no object'],
    [nullable(ref('Name')), 5, 'body is no text'],
    [{ type: 'array', items: { type: 'boolean' }, maxItems: 1 }, [true, false], 'body is too long a list'],
    [{ type: 'array', items: { type: 'boolean' } }, [1], 'body[0] is neither true nor false'],
    [{ type: 'string', enum: ['x', 'y'] }, 'z', 'body is none of x, y'],
    [{ type: 'null' }, 0, 'body is not null'],
  ])('does not fit %j: %j', (schema, value, wrong) => {
    expect(misfit(schemas, schema, value)).toBe(wrong);
  });
});
