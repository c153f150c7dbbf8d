// Package extproc is Envoy's external processor: it is asked about every HTTP
// request before the request leaves for a pod, and answers where its session
// lives.
//
// The idea is that a decision is complete before the request moves. The session
// key is read from the request, the session table says which pod owns it, and
// where nobody does yet the balancer's choice is claimed in the table, where the
// first writer wins: two first requests of one session, decided at the same
// instant, end on one pod. Only then is Envoy told the pod's address, in a
// header that a client cannot keep, and Envoy sends the request there or
// nowhere. The response is looked at only if it has something to tell: a new
// binding's route, a session id that the pod created, a sample of the response
// time.
//
// What a service is (its key sources, its strategy, its pods) comes from
// xds-server by xDS; package xdsclient puts it into a Directory, which keeps the
// last good state whatever becomes of xds-server. Package sessionkey reads the key,
// and package admin shows an operator what there is. The example puts them together.
//
// Two traits of Envoy shape the stream handler. A stream that ends cleanly
// before its first answer lets the request pass undecided, so every way out
// before that is an error. And Envoy 1.40 resets a stream as soon as it expects
// no further message; asking for response trailers, which most responses do not
// have, makes the end of the stream the end of the exchange. A process that is
// told to stop lets go of such streams with [Server.Drain]: once it is answered,
// Envoy needs nobody for a request. What an earlier process knew of the services,
// the watcher brings into force before xds-server has answered.
package extproc
