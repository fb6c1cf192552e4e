import { describe, it, onTestFailed } from 'vitest';
import { Lab, whyNoLab } from './lab.ts';

const reason = whyNoLab();

/** A group of tests that needs the laboratory: skipped with the reason where there can be none, but never under CI. */
export function describeLab(title: string, body: () => void): void {
  if (reason === null) {
    describe(title, body);
  } else if (process.env.CI === 'true') {
    it(title, () => {
      throw new Error(`no laboratory: ${reason}`);
    });
  } else {
    console.warn(`skipped "${title}": ${reason}`);
    describe.skip(title, body);
  }
}

/** Runs `body` in a laboratory of its own; what the programs printed is shown if the test fails. */
export async function inLab(title: string, body: (lab: Lab) => Promise<void>): Promise<void> {
  const lab = new Lab(title);
  let report = '';
  onTestFailed(() => console.error(report));
  try {
    await body(lab);
  } catch (error) {
    report = lab.report();
    throw error;
  } finally {
    await lab.close();
  }
}
