// Package nodeipc speaks the IPC channel of Node.js.
package nodeipc
