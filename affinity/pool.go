package affinity

import (
	"sync"
	"unsafe"
)

// pool is the memory of all shards for one purpose, in equal parts. It is taken at
// once, when the first shard needs its part, and in pages of 2 MiB if the kernel has
// them: a table reads its memory in no order, and with pages of 4 KiB nearly every
// read waits for the page's address, too. It is ordinary memory of Go; what is not
// used yet is only reserved.
type pool[T any] struct {
	once        sync.Once
	all         []T
	parts, each int
}

func (p *pool[T]) part(i int) []T {
	p.once.Do(func() {
		p.all = make([]T, p.parts*p.each)
		adviseHuge(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(p.all))), len(p.all)*int(unsafe.Sizeof(p.all[0]))))
	})
	return p.all[i*p.each : (i+1)*p.each : (i+1)*p.each]
}

const hugePage = 2 << 20

// inHugePages is the part of b that huge pages can cover.
func inHugePages(b []byte) []byte {
	from := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) % hugePage
	if from >= uintptr(len(b)) {
		return nil
	}
	return b[from : from+(uintptr(len(b))-from)/hugePage*hugePage]
}
