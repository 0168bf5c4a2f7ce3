// Waits in a pooled sandbox for its one job ("j", then as in sitecustomize.py), then leaves node as if it had
// just been started: it is a `--require` module, so node itself runs /box/main.js afterwards.
'use strict'
if (require('worker_threads').isMainThread) {
  const fs = require('fs')
  const fd = Number(/-(\d+)\.cjs$/.exec(__filename)[1])
  const buffer = Buffer.allocUnsafeSlow(1 << 16)
  const chunks = []
  let count
  while ((count = fs.readSync(fd, buffer)) > 0) chunks.push(Buffer.from(buffer.subarray(0, count)))
  fs.closeSync(fd)
  const job = Buffer.concat(chunks).toString()
  if (job[0] !== 'j') process.exit(1) // the executor is gone
  const words = job.slice(1).split('\0')
  const last = 1 + Number(words[0])
  process.argv.push(...words.slice(1, last))
  for (const name of Object.keys(process.env)) delete process.env[name]
  for (const word of words.slice(last, -1)) {
    const at = word.indexOf('=')
    process.env[word.slice(0, at)] = word.slice(at + 1)
  }
}
process.execArgv = process.execArgv.filter((word, at, all) => word !== '--require' && all[at - 1] !== '--require')
process._preload_modules.length = 0
const { _pathCache } = require('module')
for (const key of Object.keys(_pathCache)) if (_pathCache[key] === __filename) delete _pathCache[key]
delete require.cache[__filename]
