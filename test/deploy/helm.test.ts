/** The Helm chart, rendered by the real helm (`npm run helm` fetches one). */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import { chart, helm, type KubernetesObject, only, render, root, run, set } from './chart.ts';
import { schemaError } from './kubernetes.ts';

const minimal = ['network.domain=lab.example', 'network.address=198.51.100.10'];
const everything = [
  ...minimal,
  'network.address6=2001:db8::10',
  'network.vip4=100.81.0.0/16',
  'metrics.serviceMonitor.enabled=true',
  'metrics.serviceMonitor.labels.release=prometheus',
  'service.exposeController=false',
  'restore.archive=AAAA',
  'networkPolicy.metricsFrom.matchLabels.team=ops',
  'persistence.storageClass=fast',
  'extraEnv[0].name=A,extraEnv[0].value=b',
  'nodeSelector.disk=ssd',
  'drainSeconds=30',
];

const podOf = (objects: KubernetesObject[]) => only(objects, 'StatefulSet')[0]!.spec.template.spec;

describe.skipIf(helm === null)('the chart', () => {
  it('has the version of the program', () => {
    const { stdout } = run('show', 'chart', chart);
    expect(stdout).toContain(`appVersion: ${manifest.version}\n`);
  });

  describe.each([
    ['with what is required', minimal],
    ['with everything', everything],
  ])('%s', (_, values) => {
    it('passes helm lint --strict', () => {
      expect(run('lint', '--strict', chart, ...set(values))).toMatchObject({ status: 0 });
    });

    it('renders objects as the published schemas have them', async () => {
      expect(await Promise.all(render(values).map(schemaError))).toEqual(render(values).map(() => null));
    });

    it('selects its own pod, by ports that the pod has', () => {
      const objects = render(values);
      const { template } = only(objects, 'StatefulSet')[0]!.spec;
      const { labels } = template.metadata;
      const ports = template.spec.containers.flatMap((container) => container.ports);
      const selectors = [
        ...only(objects, 'Service').map(({ spec }) => spec.selector),
        ...only(objects, 'NetworkPolicy').map(({ spec }) => spec.podSelector.matchLabels),
        ...['StatefulSet', 'PodDisruptionBudget'].flatMap((kind) =>
          only(objects, kind).map(({ spec }) => spec.selector.matchLabels),
        ),
      ];
      expect(selectors).toHaveLength(6);
      for (const selector of selectors) {
        expect(Object.keys(selector).length).toBeGreaterThan(0);
        expect(labels).toMatchObject(selector);
      }
      for (const { targetPort, port, protocol } of only(objects, 'Service').flatMap(({ spec }) => spec.ports)) {
        expect(ports).toContainEqual({ name: targetPort, containerPort: port, protocol });
      }
      const [policy] = only(objects, 'NetworkPolicy');
      for (const { port, protocol } of policy!.spec.ingress.flatMap((rule) => rule.ports)) {
        expect(ports).toContainEqual(expect.objectContaining({ name: port, protocol }));
      }
    });

    it("keeps devices' source addresses", () => {
      const outside = only(render(values), 'Service').filter(({ metadata }) => !metadata.name.endsWith('-metrics'));
      expect(outside.map(({ metadata, spec }) => [metadata.name, spec.externalTrafficPolicy])).toEqual([
        ['net-cyphonic-tcp', 'Local'],
        ['net-cyphonic-udp', 'Local'],
      ]);
    });

    it('runs as nobody special, with a read-only system, and mounts what it has', () => {
      const objects = render(values);
      const pod = podOf(objects);
      expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
      const claims = only(objects, 'StatefulSet')[0]!.spec.volumeClaimTemplates.map(({ metadata }) => metadata.name);
      const volumes = [...pod.volumes.map(({ name }) => name), ...claims];
      for (const container of [...pod.containers, ...pod.initContainers]) {
        expect(container.securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        });
        for (const { name } of container.volumeMounts) expect(volumes).toContain(name);
      }
    });

    it('asks for health where it is served, and gives the drain time to end', () => {
      const pod = podOf(render(values));
      const [cloud] = pod.containers;
      const at = (path: string) => ({ httpGet: { path, port: 'metrics' } });
      expect(cloud).toMatchObject({
        startupProbe: at('/readyz'),
        readinessProbe: at('/readyz'),
        livenessProbe: at('/healthz'),
      });
      const variables = Object.fromEntries(cloud!.env.map(({ name, value }) => [name, value]));
      expect(variables).toMatchObject({ CYPHONIC_ROLE: 'cloud', CYPHONIC_METRICS: '0.0.0.0:7450' });
      const drain = Number(values.find((value) => value.startsWith('drainSeconds='))?.split('=')[1] ?? 5);
      expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(drain + 5);
    });

    it('makes a network that the program takes', () => {
      const directory = mkdtempSync(join(tmpdir(), 'cyphonic-helm-'));
      try {
        const [init] = podOf(render(values)).initContainers;
        const given = Object.fromEntries(init!.env.map(({ name, value }) => [name, value]));
        const dir = join(directory, 'network');
        const env = { ...given, PATH: process.env.PATH, CYPHONIC_DIR: dir };
        const made = spawnSync(process.execPath, [join(root, 'src/main.ts'), 'cloud', 'init'], {
          env,
          encoding: 'utf8',
        });
        expect([made.status, made.stderr]).toEqual([0, '']);
        expect(made.stdout).toContain('Network lab.example is made');
        expect(readdirSync(dir)).toContain('cloud.yaml');
      } finally {
        rmSync(directory, { recursive: true });
      }
    });
  });

  it('is held against schemas that refuse what is wrong', async () => {
    const [service] = only(render(minimal), 'Service');
    expect(await schemaError({ ...service!, kind: 'Servant' })).toMatch(/no Servant/);
    expect(await schemaError({ ...service!, spec: { ports: [{ port: 'as' }] } } as never)).toMatch(/integer/);
  });

  it('restores from a Secret of its own or of somebody else', () => {
    const secretOf = (values: string[]) =>
      podOf(render([...minimal, ...values])).volumes.flatMap(({ secret }) => (secret ? [secret.secretName] : []));
    expect(secretOf([])).toEqual([]);
    expect(secretOf(['restore.archive=AAAA'])).toEqual(['net-cyphonic-restore']);
    expect(secretOf(['restore.existingSecret=mine', 'restore.archive=AAAA'])).toEqual(['mine']);
    expect(only(render(everything), 'Secret')).toMatchObject([{ metadata: { name: 'net-cyphonic-restore' } }]);
    expect(only(render([...minimal, 'restore.existingSecret=mine']), 'Secret')).toEqual([]);
  });

  it('has a ServiceMonitor for the metrics Service only when asked to', () => {
    expect(only(render(minimal), 'ServiceMonitor')).toEqual([]);
    const objects = render(everything);
    const [monitor] = only(objects, 'ServiceMonitor');
    expect(monitor!.spec.endpoints).toEqual([{ port: 'metrics', path: '/metrics', interval: '30s' }]);
    const found = only(objects, 'Service').filter(({ metadata }) =>
      Object.entries(monitor!.spec.selector.matchLabels).every(([label, value]) => metadata.labels[label] === value),
    );
    expect(found.map(({ metadata }) => metadata.name)).toEqual(['net-cyphonic-metrics']);
  });

  it.each([
    [['network.address=198.51.100.10'], 'domain'],
    [['network.domain=lab.example'], 'network'],
    [['network.domain=Lab Example', 'network.address=198.51.100.10'], 'domain'],
    [['network.domain=lab.example', 'network.address=cloud.example'], 'address'],
    [[...minimal, 'ports.as=70000'], 'as'],
    [[...minimal, 'service.type=ClusterIP'], 'type'],
    [[...minimal, 'replicas=3'], 'replicas'],
    [[...minimal, 'image.pullPolicy=Sometimes'], 'pullPolicy'],
  ])('refuses %j', (values, what) => {
    const { status, stderr } = run('template', 'net', chart, ...set(values));
    expect([status, stderr]).toEqual([1, expect.stringContaining(what)]);
  });
});
