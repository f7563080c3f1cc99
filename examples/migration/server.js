const express = require('express')
const users = require('./users.json')

const app = express()
app.get('/', (req, res) => res.send('<h1>Users</h1>\n'))
app.get('/api/users', (req, res) => res.json(users))
app.get('/api/users/:id', (req, res) => {
  const user = users.find((u) => u.id === Number(req.params.id))
  if (user) res.json(user)
  else res.status(404).json({ error: 'no such user' })
})
app.listen(process.env.PORT, (err) => {
  if (err) throw err // Express 5 calls this also when it cannot listen
  console.log(`listening on ${process.env.PORT}`)
})
