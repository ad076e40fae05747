// Stays logged in to a cache with nothing but what stands in a mounted Secret.
//
//   node main.mjs FOLDER SECONDS [RELOGIN_SECONDS]
//
// FOLDER is where the Secret is mounted. It works for so many seconds and tells how many commands went wrong. For the
// cache's 12-hour cut to be seen in less, RELOGIN_SECONDS (an hour) can be made shorter than the cut.

import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from 'redis'

// Reads files by their paths, each time: the kubelet swaps the folder behind them.
const read = async (folder, name) => (await readFile(path.join(folder, name), 'utf8')).trim()

// Gives node-redis the credentials of a mounted Secret on every connect, and fresh ones every hour, with which it logs
// in again on the open connection: that restarts ElastiCache's 12 hours.
class MountedSecret {
  type = 'streaming-credentials-provider'

  constructor (folder, reloginMs = 3_600_000) {
    this.folder = folder
    this.reloginMs = reloginMs
  }

  async credentials () {
    const [username, password] = await Promise.all([read(this.folder, 'username'), read(this.folder, 'password')])
    return { username, password }
  }

  async subscribe (listener) {
    const timer = setInterval(
      () => this.credentials().then(listener.onNext, error => console.log(`no credentials: ${error.code}`)),
      this.reloginMs
    ).unref()
    const subscription = { dispose: () => clearInterval(timer) }
    try {
      return [await this.credentials(), subscription]
    } catch (error) {
      subscription.dispose()
      throw error
    }
  }

  // The earlier login still holds, and there is another chance in an hour.
  onReAuthenticationError () {
    console.log('a login was refused')
  }
}

async function connect (folder, reloginMs) {
  const ca = path.join(folder, 'ca.crt')
  const client = createClient({
    socket: {
      host: await read(folder, 'host'),
      port: Number(await read(folder, 'port')),
      tls: true,
      ca: existsSync(ca) ? await readFile(ca) : undefined
    },
    credentialsProvider: new MountedSecret(folder, reloginMs)
  })
  client.on('error', error => console.log(`connection: ${error.message}`)) // it connects again by itself
  return client.connect()
}

// Sends commands and says how it went.
async function work (client, seconds) {
  const user = await client.aclWhoAmI()
  console.log(`logged in as ${user}`)
  let commands = 0
  let failed = 0
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(20)) {
    commands++
    try {
      await client.incr(`${user}:count`)
    } catch (error) {
      failed++
      console.log(`failed: ${error.message}`)
    }
  }
  console.log(`${commands} commands, ${failed} failed`)
  return failed
}

const [folder, seconds, reloginSeconds] = process.argv.slice(2)
if (seconds === undefined) {
  console.error('usage: node main.mjs FOLDER SECONDS [RELOGIN_SECONDS]')
  process.exit(2)
}
const client = await connect(folder, reloginSeconds && Number(reloginSeconds) * 1000)
try {
  process.exitCode = await work(client, Number(seconds)) > 0 ? 1 : 0
} finally {
  client.destroy()
}
