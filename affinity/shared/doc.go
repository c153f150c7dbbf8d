// Package shared is the session table of several replicas. One store arbitrates: every
// claim, rebinding and move of a session is one script that the store runs as a whole. Each
// replica has a table of its own, and answers from it what it knows without asking anybody.
// That is safe by three rules:
//
//   - A lease. A replica answers from its table only while its lease runs: it renewed its
//     registration in the store, and by its own monotonic clock not too long ago. It looks
//     at the clock after it has looked into the table, for it may have been stopped in between.
//   - Revoke before move. The pod of a session changes in three steps: the store notes the
//     change and appends to its log that the session is to be forgotten; every replica that is
//     registered drops it from its table and says up to where in the log it has acted; then the
//     change is made. A replica that says nothing is waited for until its lease must have run
//     out, by the clock of the one who waits, and is then taken off the register.
//   - One entry for a lost pod. A pod that is lost is fenced by one entry of the log, whatever
//     its sessions: each replica drops them all. Once all have acted on it, its sessions are
//     rebound one by one without asking again, as requests come. The pod is in service again
//     when no replica holds it for lost any more.
//
// So whatever answers a request, the answers of all replicas form one history, as if there
// were a single register for each session.
//
// A store that was restarted, restored, emptied or replaced by a standby may lack what it had
// acknowledged. It is a new incarnation: it takes no change until every replica of the one
// before has put back what it holds, or cannot have a lease any more. Of two bindings of one
// session the one with the higher epoch is in force.
//
// The log, the leases and the incarnations follow what is known of such things: Gray and
// Cheriton, "Leases" (SOSP 1989), for the lease and its clock; the lock client of DynamoDB for
// waiting by one's own clock until a heartbeat has not changed for a lease; Adya et al.,
// "Slicer" (OSDI 2016), for revoking before moving.
package shared
