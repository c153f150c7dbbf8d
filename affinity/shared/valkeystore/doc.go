// Package valkeystore is the store of package shared in a Valkey (8 or newer) or Redis (7 or
// newer): one server, one with sentinels, or a cluster.
//
// Every call is one script, which the server runs as a whole. All keys of a prefix have one
// hash tag and so lie on one node of a cluster: a cluster is for its standbys, not for more
// sessions. The scripts' text holds the incarnation, and they are called by their hash: a server
// process that was restarted, or a standby that was promoted, does not know them and says so
// before it answers anything, for scripts are neither kept nor replicated. (A server process is
// told by its run_id from another.) So nothing is read from a server that may lack writes before
// replicas have put back what they hold.
//
// What the server has, each name behind "{prefix}":
//
//	store            incarnation, run id, phase, where the log began and ends, the highest epochs
//	                 given and forgotten, the last renewal, the number of renewals
//	at, beat, info   by replica: acted on the log up to, renewals, what it tells of itself
//	ready            replicas that have put back what they hold
//	log:INCARNATION  the log, a stream whose ids are positions; the last 100,000 entries
//	ended            where the log stood when an earlier incarnation ended
//	counted          the sessions of each pod, for a second
//	fences, fence:…  pods that are lost; of each the log's entry and who says so
//	s:SERVICE KEY    a session: pod, epoch, previous pod, created, seen, requests, change
//	i:SERVICE POD    the sessions of a pod, sorted by when they expire
//	pods:SERVICE, services
//
// A session takes some 400 bytes. It expires by itself. The server must not evict
// (maxmemory-policy noeviction): a session that is evicted is one that was never there.
package valkeystore
