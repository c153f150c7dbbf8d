// Package store keeps the bindings of an affinity.Table in a file, so that a
// restarted or killed process finds its sessions where they were.
//
// The request path never waits for the disk. The table tells its journal every
// change; the store notes the last change of each key in memory and a single
// goroutine writes them in batches, some ten milliseconds later. What a restarted
// process would miss, a session that was bound, moved or deleted by request, is
// never behind more than one short transaction of what can wait: the expired
// bindings of a sweep, ordinary use, or a rewrite of the file.
//
// A process that is killed loses what it had not handed to the kernel: the last
// batch. What it had is in the page cache and survives the process. A machine
// that loses power loses what was not on the disk yet: what was written since
// the last sync (Options.SyncInterval), if it fails between two; if it fails
// while the kernel writes, the file may be a mixture of old and new. That is
// told by the file's structure and the records' checksums, but not always: an
// old page may take the place of its successor unnoticed, and then sessions that
// moved or ended in the last moments are where they were before. Options.Sync
// excludes that, with a wait for the disk in every batch.
//
// A file that is damaged or not ours is kept aside, and the start goes on. A disk
// that cannot be written is an error of Open instead: a process that was told to
// keep its bindings and cannot must not look as if it did. A disk that fails
// later is told to Options.OnError and Stats, the changes wait and are tried again
// after 1, 2, 4 and then every 5 seconds. Of those that find no room meanwhile nothing
// is kept; afterwards the file is compared with the table and corrected.
//
// The file is looked at twice a second. One that was deleted, replaced, cut short or
// overwritten by somebody else under the process is given up; what has taken its place
// is kept aside, unless it is empty or another process has it open, and a new file is
// begun into which everything in force is written. A transaction that a cut file makes
// fault ends the file's use in the same way.
//
// The file is a bbolt database, one bucket with one record for each binding.
// Each record carries a version and a checksum over its key and its content. Two more
// buckets say what its times mean and what is known of epochs.
package store
