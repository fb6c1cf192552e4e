import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { done, json, run, useNetworks } from './run.ts';

const { freshPath, initNetwork, scratch } = useNetworks();

describe('cloud backup and restore', () => {
  test('bring back everything, into a new or empty directory only', async () => {
    const dir = await initNetwork();
    await done('device', 'add', 'a', '--dir', dir);
    const archive = join(scratch, 'backup.tar');
    await done('cloud', 'backup', '--dir', dir, archive);
    expect(statSync(archive).mode & 0o777).toBe(0o600);
    // Any tar program reads it too.
    const listed = execFileSync('tar', ['tf', archive], { encoding: 'utf8' }).trim().split('\n').sort();
    const names = readdirSync(dir).filter((name) => !/-(wal|shm)$/.test(name));
    expect(listed).toEqual([...names, 'SHA256SUMS'].sort());
    await done('device', 'add', 'later', '--dir', dir);

    const restored = freshPath();
    await done('cloud', 'restore', '--dir', restored, archive);
    expect(statSync(restored).mode & 0o777).toBe(0o700);
    for (const name of names.filter((each) => each !== 'register.db')) {
      expect(readFileSync(join(restored, name))).toEqual(readFileSync(join(dir, name)));
      expect(statSync(join(restored, name)).mode & 0o777).toBe(0o600);
    }
    expect(await json('device', 'list', '--dir', restored)).toMatchObject([{ deviceId: 'a' }]);
    const empty = freshPath();
    mkdirSync(empty);
    await done('cloud', 'restore', '--dir', empty, archive);

    for (const target of [dir, restored]) {
      const before = readdirSync(target);
      expect((await run(['cloud', 'restore', '--dir', target, archive])).code).toBe(1);
      expect(readdirSync(target)).toEqual(before);
    }
    expect((await run(['cloud', 'backup', '--dir', dir, archive])).code).toBe(1);
  });

  test('a damaged, cut-off or foreign backup restores nothing', async () => {
    const dir = await initNetwork();
    const archive = join(scratch, 'good.tar');
    await done('cloud', 'backup', '--dir', dir, archive);
    const good = readFileSync(archive);
    const bad = join(scratch, 'bad.tar');
    const variants = [
      good.subarray(0, good.length - 1024),
      good.subarray(0, 700),
      Buffer.alloc(0),
      Buffer.alloc(4096),
      Buffer.from('x'.repeat(4096)),
      ...[3, 130, 520, good.indexOf('domain: lab.example'), good.length - 1500].map((at) => {
        const copy = Buffer.from(good);
        copy[at]! ^= 1;
        return copy;
      }),
    ];
    const target = freshPath();
    for (const content of variants) {
      writeFileSync(bad, content);
      const { code, err } = await run(['cloud', 'restore', '--dir', target, bad]);
      expect([code, err.length, err[0]]).toEqual([1, 1, expect.stringContaining('cannot be restored')]);
    }
    // A name that leads out of the directory.
    writeFileSync(join(scratch, 'evil'), 'x');
    execFileSync('tar', ['cf', bad, '--format=ustar', '-P', '-C', scratch, '--transform=s,^,../,', 'evil']);
    expect((await run(['cloud', 'restore', '--dir', target, bad])).code).toBe(1);
    expect(() => statSync(target)).toThrow();
    expect((await run(['cloud', 'restore', '--dir', target, join(scratch, 'missing.tar')])).code).toBe(2);
  });
});
