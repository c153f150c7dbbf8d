package store

import (
	"container/heap"
	"slices"
)

// runs is a list that is sorted in small steps: it consists of sorted pieces,
// which are merged as the list is read. No step takes longer than sorting one
// piece, so that somebody who waits for the writer does not wait for a sweep's
// hundreds of thousands of keys to be sorted.
type runs[T any] struct{ pieces pieces[T] }

func newRuns[T any](compare func(a, b T) int) runs[T] {
	return runs[T]{pieces[T]{compare: compare}}
}

// push adds a piece and sorts it.
func (r *runs[T]) push(piece []T) {
	if len(piece) == 0 {
		return
	}
	slices.SortFunc(piece, r.pieces.compare)
	heap.Push(&r.pieces, piece)
}

// pop takes the n smallest out, fewer if there are no more.
func (r *runs[T]) pop(n int) (out []T) {
	for len(out) < n && len(r.pieces.list) > 0 {
		first := r.pieces.list[0]
		out = append(out, first[0])
		if r.pieces.list[0] = first[1:]; len(first) == 1 {
			heap.Pop(&r.pieces)
		} else {
			heap.Fix(&r.pieces, 0)
		}
	}
	return out
}

func (r *runs[T]) empty() bool { return len(r.pieces.list) == 0 }

// pieces is a heap by the first elements; none is empty, but for the one that
// heap.Pop is called for.
type pieces[T any] struct {
	compare func(a, b T) int
	list    [][]T
}

func (p *pieces[T]) Len() int           { return len(p.list) }
func (p *pieces[T]) Less(i, j int) bool { return p.compare(p.list[i][0], p.list[j][0]) < 0 }
func (p *pieces[T]) Swap(i, j int)      { p.list[i], p.list[j] = p.list[j], p.list[i] }
func (p *pieces[T]) Push(x any)         { p.list = append(p.list, x.([]T)) }
func (p *pieces[T]) Pop() any {
	last := len(p.list) - 1
	x := p.list[last]
	p.list[last] = nil
	p.list = p.list[:last]
	return x
}
