// ioredis, or iovalkey, which is made from it: see test_clients.py.
'use strict';

const [name, path, good, none] = process.argv.slice(2);
const Client = require(name);
const { say, told } = require('./steps.js');

const requests = [['CHECK', good], ['CHECK', none]];
const ask = (client) => Promise.all(requests.map((request) => client.call(...request)));
const together = async (batch) => {
  for (const request of requests) batch.call(...request);
  return (await batch.exec()).map(([error, reply]) => { if (error) throw error; return reply; });
};

async function main() {
  const client = new Client({ path });
  client.on('error', () => {}); // it connects again by itself
  say('version', require(`${name}/package.json`).version);
  say('defaults', await ask(client));
  say('pipeline', await together(client.pipeline()));
  say('transaction', await together(client.multi()));
  const automatic = new Client({ path, enableAutoPipelining: true });
  say('pool', await ask(automatic));
  automatic.disconnect();
  const other = new Client(path, { password: 'any', db: 0, connectionName: 'gateway' });
  other.on('error', (error) => { throw error; });
  say('password', await ask(other));
  other.disconnect();
  await told('restarted');
  say('again', await ask(client));
  await client.quit();
  process.exit(0);
}

main().catch((error) => { console.error(error); process.exit(1); });
