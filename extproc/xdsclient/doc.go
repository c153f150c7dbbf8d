// Package xdsclient is extproc as a client of xds-server: a Watcher takes services
// and their pods from it, and keeps them in a file for the next process; a
// LoadReporter tells it what only an extproc knows. What the services are for is
// their receiver's affair.
package xdsclient
