// Package store keeps the bindings of an affinity.Cache in a file, so that a
// restarted or killed process finds its sessions where they were.
//
// The request path never waits for the disk. The cache tells its journal every
// change; the store notes the last change of each key in memory and a single
// goroutine writes them in batches, some ten milliseconds later:
//
//	st, found, err := store.Open(store.Options{Path: "pins.db"})
//	if err != nil { ... }               // not ours to open: locked, no permission
//	if found.Damage != nil { ... }      // log it; the old file was kept aside
//	table, err := affinity.New(affinity.Options{Journal: st})
//	table.Restore(found.Bindings, now)
//	err = st.Run(ctx, table.All())      // until ctx ends; then the rest is written
//
// A process that is killed loses what it had not handed to the kernel: the last
// batch. What it had is in the page cache and survives the process, so there is
// no fsync by default. A machine that loses power may lose more, up to the whole
// file; Options.Sync buys that off with a wait for the disk per batch.
//
// The file is a bbolt database, one bucket with one record for each binding.
// Each record carries a version and a checksum over its key and its content.
package store
