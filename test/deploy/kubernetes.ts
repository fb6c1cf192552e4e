/** The published schemas of Kubernetes and of the Prometheus operator, as compiled into packages of npm. */

export type Manifest = { readonly apiVersion: string; readonly kind: string };
type Model = new (manifest: object) => { validate(): void };

/** What the schema of its kind says against an object; null = nothing. */
export async function schemaError(manifest: Manifest): Promise<string | null> {
  const { apiVersion, kind } = manifest;
  const home = apiVersion.startsWith('monitoring.coreos.com/')
    ? '@kubernetes-models/prometheus-operator'
    : 'kubernetes-models';
  const models = (await import(`${home}/${apiVersion}`)) as Record<string, Model | undefined>;
  const model = models[kind];
  if (model === undefined) return `there is no ${kind} in ${apiVersion}`;
  try {
    new model(manifest).validate();
    return null;
  } catch (error) {
    return `${kind}: ${(error as Error).message}`;
  }
}
