/** A process with a laboratory, for the tests of its removal. A `stubborn` one's program ignores being asked to end. */

import { Lab } from './lab.ts';

const trap = process.argv[2] === 'stubborn' ? 'trap "" TERM;' : '';
const program = new Lab('occupant')
  .namespace('room')
  .spawn(['sh', '-c', `${trap} echo "process $$"; while :; do sleep 1; done`]);
const [, pid] = await program.output(/^process (\d+)$/m);
console.log(`inhabitant ${pid}`);
