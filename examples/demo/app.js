'use strict'
// A service in Node, before it is moved: node app.js, on PORT.
const http = require('http')
const users = require('../migration/users.json')

http.createServer((req, res) => {
  res.setHeader('X-Powered-By', 'Node')
  if (req.url === '/api/users') {
    res.setHeader('Content-Type', 'application/json; charset=utf-8')
    res.end(JSON.stringify(users))
  } else {
    res.end('<h1>Users</h1>\n')
  }
}).listen(process.env.PORT)
