// What the clients in JavaScript tell the test, and are told by it.
'use strict';

// Print a step's name and its answers as words on a line.
exports.say = (step, answers) => console.log([step, answers].flat(Infinity).join(' '));

// Say that a step is over, and wait for the test to say so.
exports.told = (word) => new Promise((resolve) => {
  console.log('ready');
  process.stdin.once('data', () => { process.stdin.pause(); resolve(word); });
});
