/** The chart's replicated mode: pods for each role on stores that are there already. */

import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { chart, helm, type KubernetesObject, only, render, root, run } from './chart.ts';
import { schemaError } from './kubernetes.ts';

const example = join(root, 'deploy/helm/examples/replicated.yaml');
const rendered = (...values: string[]): KubernetesObject[] => render(values, [example]);
const roles = ['as', 'nms', 'trs'];

const workloads = (objects: KubernetesObject[]) => [...only(objects, 'Deployment'), ...only(objects, 'StatefulSet')];
const roleOf = ({ spec }: KubernetesObject) => spec.template.metadata.labels['app.kubernetes.io/component'];
const isWithin = (part: object, whole: object) => expect.objectContaining(part).asymmetricMatch(whole);

describe.skipIf(helm === null)('the chart with replicas', () => {
  it('passes helm lint --strict and the published schemas', async () => {
    expect(run('lint', '--strict', chart, '-f', example)).toMatchObject({ status: 0 });
    const objects = rendered('metrics.serviceMonitor.enabled=true');
    expect(await Promise.all(objects.map(schemaError))).toEqual(objects.map(() => null));
    expect(workloads(objects).map(roleOf)).toEqual(roles);
  });

  it('leads every Service, budget and policy to the pods of one role, by ports they have', () => {
    const objects = rendered();
    const pods = workloads(objects).map((workload) => ({
      role: roleOf(workload),
      labels: { ...workload.spec.template.metadata.labels, 'statefulset.kubernetes.io/pod-name': '' },
      ports: workload.spec.template.spec.containers[0]!.ports,
    }));
    const selected = (selector: object) => {
      const { 'statefulset.kubernetes.io/pod-name': name = '', ...labels } = selector as Record<string, string>;
      const found = pods.filter((pod) => isWithin(labels, pod.labels));
      if (name !== '') expect(found.map(({ role }) => role)).toEqual(['trs']);
      return found;
    };
    const reached = only(objects, 'Service').filter(({ metadata }) => !metadata.name.endsWith('-metrics'));
    expect(reached.map(({ metadata }) => metadata.name.replace('net-cyphonic-', ''))).toEqual(
      expect.arrayContaining(['tcp', 'udp', 'trs-0', 'trs-1']),
    );
    for (const { spec } of reached) {
      expect(spec.externalTrafficPolicy).toBe('Local');
      const [pod, ...others] = selected(spec.selector);
      expect(others).toEqual([]);
      for (const { targetPort, port, protocol } of spec.ports) {
        expect(pod!.ports).toContainEqual({ name: targetPort, containerPort: port, protocol });
      }
    }
    const budgets = only(objects, 'PodDisruptionBudget').map(({ spec }) => spec.selector.matchLabels);
    const policies = only(objects, 'NetworkPolicy').map(({ spec }) => spec.podSelector.matchLabels);
    for (const selectors of [budgets, policies]) {
      expect(selectors.flatMap((selector) => selected(selector).map(({ role }) => role)).sort()).toEqual(roles);
    }
  });

  it('gives each role its own files and no other role the key of the CA', () => {
    const found = workloads(rendered()).map((workload) => {
      const { containers, volumes } = workload.spec.template.spec;
      const env = Object.fromEntries(containers[0]!.env.map(({ name, value }) => [name, value]));
      const secrets = volumes.flatMap(({ secret }) => (secret === undefined ? [] : [secret.secretName]));
      return [env.CYPHONIC_ROLE, env.CYPHONIC_CONFIG, secrets];
    });
    expect(found).toEqual([
      ['as', '/etc/cyphonic/cloud.yaml', ['net-as']],
      ['nms', '/etc/cyphonic/nms.yaml', ['net-nms']],
      ['trs', '/etc/cyphonic/trs-$(ORDINAL).yaml', ['net-trs']],
    ]);
  });

  it('gives a pod the time to leave the Services and to finish', () => {
    for (const { spec } of workloads(rendered('drainSeconds=7', 'replicated.graceSeconds=30'))) {
      expect(spec.template.spec.terminationGracePeriodSeconds).toBeGreaterThan(37);
      const env = spec.template.spec.containers[0]!.env;
      expect(env).toContainEqual({ name: 'CYPHONIC_GRACE', value: '30' });
    }
  });

  it('scales AS and NMS by CPU, or leaves their number to the administrator', () => {
    const scaled = rendered();
    expect(only(scaled, 'HorizontalPodAutoscaler').map(({ metadata }) => metadata.name)).toEqual([
      'net-cyphonic-as',
      'net-cyphonic-nms',
    ]);
    expect(only(scaled, 'Deployment').map(({ spec }) => spec.replicas)).toEqual([undefined, undefined]);
    const fixed = rendered('replicated.as.autoscaling.enabled=false', 'replicated.as.replicas=4');
    expect(only(fixed, 'HorizontalPodAutoscaler')).toHaveLength(1);
    expect(only(fixed, 'Deployment').map(({ spec }) => spec.replicas)).toEqual([4, undefined]);
  });

  it('runs as many TRSs as it takes, all alike, where devices reach them at their hosts', async () => {
    const objects = rendered('replicated.trs.reachedBy=hosts');
    expect(await Promise.all(objects.map(schemaError))).toEqual(objects.map(() => null));
    expect(only(objects, 'StatefulSet')).toEqual([]);
    const [trs] = only(objects, 'Deployment').filter((deployment) => roleOf(deployment) === 'trs');
    const [container] = trs!.spec.template.spec.containers;
    expect(container!.ports).toContainEqual({ name: 'trs', containerPort: 7442, hostPort: 7442, protocol: 'UDP' });
    expect(container!.ports).toContainEqual({ name: 'trs-tls', containerPort: 443, hostPort: 443, protocol: 'TCP' });
    expect(container!.env).toContainEqual({ name: 'CYPHONIC_CONFIG', value: '/etc/cyphonic/trs.yaml' });
    expect(container!.env).toContainEqual({
      name: 'CYPHONIC_ADDRESS',
      valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } },
    });
    expect(only(objects, 'HorizontalPodAutoscaler').map(({ metadata }) => metadata.name)).toContain('net-cyphonic-trs');
    const services = only(objects, 'Service').map(({ metadata }) => metadata.name.replace('net-cyphonic-', ''));
    expect(services.sort()).toEqual(['metrics', 'tcp', 'udp']);
  });

  it.each([
    [['replicated.nms.secret='], 'replicated.nms.secret'],
    [['mode=both'], 'mode'],
    [['replicated.trs.reachedBy=luck'], 'reachedBy'],
    [['replicated.as.autoscaling.cpu=200'], 'cpu'],
  ])('refuses %j', (values, what) => {
    const { status, stderr } = run('template', 'net', chart, '-f', example, ...values.flatMap((v) => ['--set', v]));
    expect([status, stderr]).toEqual([1, expect.stringContaining(what)]);
  });
});
