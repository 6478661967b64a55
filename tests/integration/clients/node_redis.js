// node-redis, of the version whose package is named first: see test_clients.py.
'use strict';

const [name, path, good, none] = process.argv.slice(2);
const { createClient, createClientPool } = require(name);
const { say, told } = require('./steps.js');

const requests = [['CHECK', good], ['CHECK', none]];
const ask = (client) => Promise.all(requests.map((request) => client.sendCommand(request)));

async function main() {
  const client = createClient({ socket: { path }, name: 'gateway' });
  client.on('error', () => {}); // it connects again by itself
  await client.connect();
  say('version', require(`${name}/package.json`).version);
  say('defaults', await ask(client));
  say('pipeline', (await Promise.all(Array(500).fill(requests).flat().map((request) => client.sendCommand(request))))
    .slice(-2));
  say('transaction', await requests.reduce((multi, request) => multi.addCommand(request), client.multi()).exec());

  const other = createClient({ socket: { path }, username: 'default', password: 'any', database: 0 });
  other.on('error', (error) => { throw error; });
  await other.connect();
  say('password', await ask(other));
  await (other.close ? other.close() : other.quit());

  if (createClientPool) {
    const pool = createClientPool({ socket: { path } }, { minimum: 4 });
    pool.on('error', () => {});
    await pool.connect();
    say('pool', (await Promise.all(Array(20).fill(requests).flat().map((request) => pool.sendCommand(request))))
      .slice(-2));
    await pool.close();
  }
  await told('restarted');
  say('again', await ask(client));
  await (client.close ? client.close() : client.quit());
  process.exit(0);
}

main().catch((error) => { console.error(error); process.exit(1); });
