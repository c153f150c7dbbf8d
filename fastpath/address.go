package fastpath

import (
	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
)

// Readers learn from a response which pod has served a request without a session: Envoy says its
// address. Where the pod of an address is, is told by slots of a word each, which are probed one
// after the other from the hash of the service and the address on: the number of its record + 1, or 0.

func (t *Table) addressSlot(i uint64) uint64 {
	return t.places.addresses + (i&(t.places.nAddresses-1))*4
}

func addressHash(p *pod) uint64 {
	return layout.AddressHash(p.number, p.address)
}

// moveAddress has a record be found at an address, "" for none, in place of the one before, and
// in place of a record that has had that.
func (t *Table) moveAddress(i int, to string) {
	p := &t.pods[i]
	if p.address == to {
		return
	}
	if p.address != "" {
		t.dropAddress(i)
	}
	if p.address = to; to == "" {
		return
	}
	at := addressHash(p)
	for ; ; at++ {
		there := t.mem.Load32(t.addressSlot(at))
		if there == 0 {
			break
		}
		if other := &t.pods[there-1]; other.number == p.number && other.address == to {
			other.address = ""
			break
		}
	}
	t.mem.Store32(t.addressSlot(at), uint32(i+1))
}

// dropAddress takes out the slot of a record, and closes the gap.
func (t *Table) dropAddress(i int) {
	gap := addressHash(&t.pods[i])
	for t.mem.Load32(t.addressSlot(gap)) != uint32(i+1) {
		gap++
	}
	for next := gap + 1; ; next++ {
		there := t.mem.Load32(t.addressSlot(next))
		if there == 0 {
			break
		}
		// One whose own place is behind the gap would not be found in it.
		mask := t.places.nAddresses - 1
		if home := addressHash(&t.pods[there-1]); (next-home)&mask >= (next-gap)&mask {
			t.mem.Store32(t.addressSlot(gap), there)
			gap = next
		}
	}
	t.mem.Store32(t.addressSlot(gap), 0)
}
