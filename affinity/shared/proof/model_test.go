package proof_test

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// register is what a session is at one instant: bound to a pod with an epoch, or not bound.
// An epoch of 0 is one that nobody has seen yet, above all that were.
type register struct {
	pod   string
	epoch uint64
	high  uint64 // the highest epoch that the session ever had
	pending
}

// pending are effects of operations of which nobody knows what became: each may come about
// at any later time, or never.
type pending struct {
	moves, claims [pods]uint8 // to each pod
	deletes       uint8
	ends          [mostEnds]binding // deletes of exactly these bindings
	lost          uint8             // pods that claims may replace, bit by bit
}

// mostEnds bounds the ends of one session's bindings that are pending.
const mostEnds = 6

func (r register) bound() bool { return r.pod != "" }

// is reports whether the register has a binding, or may turn out to have it.
func (r register) is(pod string, epoch uint64) bool {
	return r.bound() && r.pod == pod && (r.epoch == epoch || r.epoch == 0 && epoch > r.high)
}

// bind is the register with a new binding; an epoch that is not above all others is none.
func (r register) bind(pod string, epoch uint64) []register {
	if epoch <= r.high {
		return nil
	}
	r.pod, r.epoch, r.high = pod, epoch, epoch
	return []register{r}
}

func (r register) unseen(pod string) register {
	r.pod, r.epoch = pod, 0
	return r
}

func (r register) empty() register {
	r.pod, r.epoch = "", 0
	return r
}

// seen is the register of which an answer told the epoch.
func (r register) seen(epoch uint64) register {
	r.epoch, r.high = epoch, max(r.high, epoch)
	return r
}

// with is the register with one more effect pending.
func (r register) with(i input) register {
	switch i.op {
	case opRequest:
		r.claims[podNumber(i.pod)]++
		for _, pod := range i.lost {
			r.lost |= 1 << podNumber(pod)
		}
	case opPutBack:
		r.claims[podNumber(i.pod)]++
	case opMove:
		r.moves[podNumber(i.pod)]++
	case opDelete:
		r.deletes++
	case opEnd:
		for n := range r.ends {
			if r.ends[n] == (binding{}) {
				r.ends[n] = binding{i.pod, i.epoch}
				return r
			}
		}
		r.deletes++ // too many to be told apart
	}
	return r
}

// later are the registers after one of the pending effects.
func (r register) later() (out []register) {
	for p := range pods {
		pod := podName(p)
		if r.moves[p] > 0 && r.pod != pod {
			next := r.unseen(pod)
			next.moves[p]--
			out = append(out, next)
		}
		if r.claims[p] > 0 && r.pod != pod && (!r.bound() || r.lost&(1<<podNumber(r.pod)) != 0) {
			next := r.unseen(pod)
			next.claims[p]--
			out = append(out, next)
		}
	}
	if r.deletes > 0 && r.bound() {
		next := r.empty()
		next.deletes--
		out = append(out, next)
	}
	for n, b := range r.ends {
		if b.pod != "" && r.is(b.pod, b.epoch) {
			next := r.seen(b.epoch).empty()
			copy(next.ends[n:], next.ends[n+1:])
			next.ends[mostEnds-1] = binding{}
			out = append(out, next)
		}
	}
	return out
}

// step is what an operation makes of a register. Pending effects come about when it takes
// them: as late as they can, and two at most, which leaves any register that more would.
func (r register) step(i input, a answer) []register {
	if a.How == howUnknown {
		return []register{r.with(i)}
	}
	if out := r.after(i, a); len(out) > 0 {
		return out
	}
	var out []register
	first := r.later()
	for _, once := range first {
		out = append(out, once.after(i, a)...)
	}
	for _, once := range first {
		for _, twice := range once.later() {
			out = append(out, twice.after(i, a)...)
		}
	}
	return out
}

// after is what an operation makes of the register as it is; nothing where its answer is not
// one of that register.
func (r register) after(i input, a answer) []register {
	switch i.op {
	case opRequest:
		return afterRequest(r, i, a)
	case opMove:
		return afterMove(r, i, a)
	case opDelete:
		return afterEnd(r, r.bound(), a)
	case opEnd:
		return afterEnd(r, r.is(i.pod, i.epoch), a)
	case opLoss:
		return afterLoss(r, i)
	case opPutBack:
		return afterPutBack(r, a)
	case opRestore:
		if !r.bound() {
			return []register{r, r.unseen(a.Pod).seen(a.Epoch)}
		}
		return []register{r}
	case opGlance:
		if !r.bound() || r.pod == a.Pod {
			return []register{r}
		}
	}
	return nil
}

// What a store that lost its data may do, beside the operations of replicas.
const (
	opLoss    = "loss"     // it falls back to what is known
	opPutBack = "put back" // a replica brings back what it holds
	opRestore = "restore"  // and so before the store takes changes
	opGlance  = "glance"   // an answer that only says the pod
)

// input is an operation on a session as it was asked for.
type input struct {
	op    string
	pod   string // where to
	epoch uint64 // of opEnd
	// lost are the pods that were lost at any replica before the end of the operation.
	lost []string
	// known is, of opLoss, the highest epoch that a replica put back before the store took
	// changes again, and older what it may fall back to.
	known uint64
	older []binding
}

type binding struct {
	pod   string
	epoch uint64
}

// registers are those that a session may be, after what was answered.
type registers []register

// model is a register per session, and exactly what follows from each answer.
var model = porcupine.Model{
	Init: func() any { return registers{{}} },
	Step: func(state, in, out any) (bool, any) {
		var next registers
		for _, r := range state.(registers) {
			for _, n := range r.step(in.(input), out.(answer)) {
				if !slices.Contains(next, n) {
					next = append(next, n)
				}
			}
		}
		return len(next) > 0, next
	},
	Equal: func(a, b any) bool {
		x, y := a.(registers), b.(registers)
		return len(x) == len(y) && !slices.ContainsFunc(x, func(r register) bool { return !slices.Contains(y, r) })
	},
	Hash: func(s any) (h uint64) {
		for _, r := range s.(registers) {
			h ^= maphash.Comparable(hashSeed, r)
		}
		return h
	},
	DescribeOperation: func(in, out any) string {
		i, ok := in.(input)
		if !ok {
			return "" // the library asks about what is no operation, too
		}
		a := out.(answer)
		text := fmt.Sprintf("%s(%s)", i.op, i.pod)
		if i.op == opLoss {
			return fmt.Sprintf("loss(known %d)", i.known)
		}
		text += " → " + a.How
		if a.Pod != "" {
			text += fmt.Sprintf(" %s@%d", a.Pod, a.Epoch)
		}
		if a.From != "" {
			text += fmt.Sprintf(" from %s@%d", a.From, a.FromEpoch)
		}
		return text
	},
	DescribeState: func(s any) string {
		var text []string
		for _, r := range s.(registers) {
			text = append(text, fmt.Sprintf("%s@%d, high %d", cmp.Or(r.pod, "unbound"), r.epoch, r.high))
		}
		return strings.Join(text, " or ")
	},
}

var hashSeed = maphash.MakeSeed()

// forever is when an operation ends of which nobody knows what became of it.
const forever = math.MaxInt64

func afterRequest(r register, i input, a answer) []register {
	switch a.How {
	case howKnown:
		if r.is(a.Pod, a.Epoch) {
			return []register{r.seen(a.Epoch)}
		}
	case howClaimed:
		if a.Pod == i.pod && !r.bound() {
			return r.bind(a.Pod, a.Epoch)
		}
	case howRebound:
		if a.Pod == i.pod && a.Pod != a.From && r.is(a.From, a.FromEpoch) {
			return r.seen(a.FromEpoch).bind(a.Pod, a.Epoch)
		}
	}
	return nil
}

func afterMove(r register, i input, a answer) []register {
	switch {
	case r.pod == i.pod && a.Pod == i.pod:
		if r.is(a.Pod, a.Epoch) {
			return []register{r.seen(a.Epoch)}
		}
		return nil
	case r.pod == i.pod: // another change was made before it was told
		return []register{r}
	case a.Pod != i.pod:
		return []register{r.unseen(i.pod)}
	}
	return append(r.bind(a.Pod, a.Epoch), r.unseen(i.pod)) // the same, to the same pod
}

func afterEnd(r register, present bool, a answer) []register {
	switch {
	case a.How == howDone && present:
		return []register{r.empty()}
	case a.How == howGone && (!present || r.epoch == 0):
		return []register{r}
	}
	return nil
}

// afterLoss has a register fall back to what it was before, but never behind what a replica
// put back in time.
func afterLoss(r register, i input) []register {
	states := []register{r}
	if r.bound() && r.epoch != 0 && r.epoch <= i.known {
		return states
	}
	if i.known == 0 {
		states = append(states, r.empty())
	}
	for _, b := range i.older {
		if b.epoch >= i.known && (!r.bound() || r.epoch == 0 || b.epoch < r.epoch) {
			states = append(states, r.unseen(b.pod).seen(b.epoch))
		}
	}
	return states
}

// afterPutBack is what a replica's binding leaves that the store confirmed: it was there
// already, or the session was not bound.
func afterPutBack(r register, a answer) []register {
	switch {
	case r.is(a.Pod, a.Epoch):
		return []register{r.seen(a.Epoch)}
	case !r.bound() || r.pod == a.Pod:
		return r.bind(a.Pod, a.Epoch)
	}
	return nil
}
