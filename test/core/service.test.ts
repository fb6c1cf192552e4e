import { expect, it } from 'vitest';
import { Alarm } from '../../src/core/service.ts';

it('an alarm is set when its time changes, and always after it rang', () => {
  const alarm = new Alarm();
  expect(alarm.set(1_001)).toEqual([{ do: 'wake', at: 1_010 }]);
  expect(alarm.set(1_009)).toEqual([]);
  expect(alarm.set(1_011)).toEqual([{ do: 'wake', at: 1_020 }]);
  alarm.rang();
  expect(alarm.set(1_011)).toEqual([{ do: 'wake', at: 1_020 }]);
});
