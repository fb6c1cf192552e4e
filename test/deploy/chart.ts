/** The chart as the real helm renders it (`npm run helm` fetches one). */

import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { findHelm } from '../../scripts/helm.ts';

export const root = join(import.meta.dirname, '../..');
export const chart = join(root, 'deploy/helm/cyphonic');
export const helm = findHelm();
if (helm === null) console.warn('there is no helm: the chart is not rendered (npm run helm fetches one)');

type Labels = Record<string, string>;
type Port = { name: string; port: number; targetPort: string; protocol: string; containerPort: number };
type Probe = { httpGet: { path: string; port: string } };
export type Container = {
  env: { name: string; value: string }[];
  ports: Port[];
  command?: string[];
  securityContext: object;
  volumeMounts: { name: string }[];
} & Record<'startupProbe' | 'readinessProbe' | 'livenessProbe', Probe>;
export type KubernetesObject = {
  apiVersion: string;
  kind: string;
  metadata: { name: string; labels: Labels };
  spec: {
    selector: Labels & { matchLabels: Labels };
    ports: Port[];
    externalTrafficPolicy?: string;
    podSelector: { matchLabels: Labels };
    ingress: { ports: { port: string; protocol: string }[] }[];
    replicas: number;
    serviceName: string;
    template: {
      metadata: { labels: Labels };
      spec: {
        containers: Container[];
        initContainers: Container[];
        volumes: { name: string; secret?: { secretName: string } }[];
        terminationGracePeriodSeconds: number;
        securityContext: object;
      };
    };
    volumeClaimTemplates: { metadata: { name: string } }[];
    endpoints: { port: string; path: string }[];
  };
};

export function run(...words: string[]) {
  const { status, stdout, stderr } = spawnSync(helm!, words, {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, HELM_CACHE_HOME: tmpdir(), HELM_CONFIG_HOME: tmpdir(), HELM_DATA_HOME: tmpdir() },
  });
  return { status, stdout, stderr };
}

export const set = (values: readonly string[]): string[] => values.flatMap((value) => ['--set', value]);

export function render(values: readonly string[], files: readonly string[] = []): KubernetesObject[] {
  const { status, stdout, stderr } = run(
    'template',
    'net',
    chart,
    '--namespace',
    'overlay',
    ...files.flatMap((file) => ['-f', file]),
    ...set(values),
  );
  expect([status, stderr]).toEqual([0, '']);
  const documents = parseAllDocuments(stdout);
  expect(documents.flatMap(({ errors }) => errors)).toEqual([]);
  return documents.map((document) => document.toJS() as KubernetesObject).filter((object) => object !== null);
}

export const only = (objects: KubernetesObject[], kind: string): KubernetesObject[] =>
  objects.filter((o) => o.kind === kind);
