// Asks CHECK for each key with node-redis, and prints the answers.
'use strict';

const { createClient } = require('redis');

async function main([path, ...keys]) {
  const client = createClient({ socket: { path }, name: 'gateway' });
  client.on('error', (error) => { throw error; });
  await client.connect();
  const replies = await Promise.all(keys.map((key) => client.sendCommand(['CHECK', key])));
  for (const reply of replies) console.log(reply.join(' '));
  await client.quit();
}

main(process.argv.slice(2)).catch((error) => { console.error(error); process.exit(1); });
