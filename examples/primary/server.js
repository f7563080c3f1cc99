// A web server that knows nothing of a cluster: alone it has its port, as a worker it shares it.
'use strict';

require('http').createServer((req, res) => res.end(`node ${process.pid}\n`)).listen(process.env.PORT);
