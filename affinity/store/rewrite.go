package store

import (
	"bytes"
	"iter"
	"slices"

	bolt "go.etcd.io/bbolt"

	statefulroute "github.com/stateful-route/stateful-route"
)

// rewrite makes the file equal to the table, after changes were lost, while new
// changes go on being written. It reads every binding in force, in small steps,
// and then walks along the file with them in the same order: what differs is
// written, what is only in the file deleted. Keys that changed since it began
// are left alone, for their last change is pending or written already, and what
// the rewrite read of them may be older.
type rewrite struct {
	store *Store
	next  func() (statefulroute.Binding, bool)
	stop  func()
	rows  runs[row]
	read  bool   // all bindings are in rows
	at    []byte // the file is right up to here
	batches
}

func newRewrite(s *Store, all iter.Seq[statefulroute.Binding], b batches) *rewrite {
	r := &rewrite{store: s, rows: newRuns(compareRows), batches: b}
	r.next, r.stop = iter.Pull(all)
	return r
}

func (r *rewrite) step() (done bool, err error) {
	if !r.read {
		r.readSome()
		return false, nil
	}
	rows := r.rows.pop(r.patient)
	last := r.rows.empty()
	var found difference
	err = r.store.update(func(b *bolt.Bucket) error {
		found = r.compare(b.Cursor(), rows, last)
		return putRows(b, slices.DeleteFunc(found.rows, r.changedMeanwhile))
	})
	if err != nil {
		r.rows.push(rows)
		return false, err
	}
	r.at = found.end
	r.rows.push(rows[found.used:])
	return found.done, nil
}

// readSome takes the next bindings, as many as sort quickly.
func (r *rewrite) readSome() {
	var rows []row
	for len(rows) < max(r.sort/2, 1) {
		b, ok := r.next()
		if !ok {
			r.read = true
			break
		}
		rows = append(rows, makeRow(changeKey{b.Service, b.Key}, &b, &r.store.scale))
	}
	r.rows.push(rows)
}

func (r *rewrite) changedMeanwhile(row row) bool {
	k, ok := splitKey(row.key)
	return ok && r.store.pending.changedSince(k)
}

// difference is what compare found.
type difference struct {
	rows []row  // to be put or deleted, in order
	used int    // of the rows compared
	end  []byte // the key to go on at
	done bool   // the whole file was compared
}

// compare walks on along the file and compares it with rows, all that belong
// there or, if last is false, the first of them.
func (r *rewrite) compare(c *bolt.Cursor, rows []row, last bool) (d difference) {
	k, v := c.Seek(r.at)
	d.end = bytes.Clone(r.at)
	for range r.look {
		order := -1 // of the row beside the record
		switch {
		case d.used < len(rows) && k != nil:
			order = bytes.Compare(rows[d.used].key, k)
		case d.used < len(rows):
		case last && k != nil:
			order = 1
		default:
			d.done = last
			return d
		}
		at := row{key: k} // to be deleted
		if order <= 0 {
			at = rows[d.used]
			d.used++
		}
		if order != 0 || !bytes.Equal(v, at.value) {
			d.rows = append(d.rows, row{bytes.Clone(at.key), at.value})
		}
		d.end = append(append(d.end[:0], at.key...), 0) // the next key there can be
		if order >= 0 {
			k, v = c.Next()
		}
	}
	return d
}
