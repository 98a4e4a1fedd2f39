// Reads entries in hex, one a line, with p2panda-js, which checks the signature while decoding;
// prints what it makes of each.

'use strict';

const { decodeEntry, generateHash } = require('p2panda-js');

function read(entry) {
  try {
    const { publicKey, logId, seqNum } = decodeEntry(entry);
    const numbers = { logId: logId.toString(), seqNum: seqNum.toString() };
    return { publicKey, ...numbers, hash: generateHash(entry) };
  } catch (error) {
    return { error: String(error) };
  }
}

for (const entry of require('node:fs').readFileSync(0, 'utf8').split('\n')) {
  console.log(JSON.stringify(read(entry)));
}
