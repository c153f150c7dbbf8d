package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// bbolt trusts its pages: one that points back up its own tree would keep a
// reader busy until memory ends. So before anything is read, checkTree walks
// the pages once, by bbolt's file format 2, and makes sure that each belongs to
// one place only and that no page in use is listed as free.
const (
	pageHeader    = 16
	elementSize   = 16 // of a branch's and a leaf's elements alike
	metaSize      = 64
	metaSummed    = 56 // bytes of a meta page under its checksum
	metaMagic     = 0xED0CDAED
	branchPage    = 1
	leafPage      = 2
	freelistPage  = 16
	bucketElement = 1
	noFreelist    = 1<<64 - 1
	manyFree      = 0xFFFF // the count of a free list too long for its field
)

var errPages = errors.New("its pages do not form a tree")

type treeCheck struct {
	file     io.ReaderAt
	pageSize uint64
	end      uint64 // first page number that is not in use
	used     map[uint64]bool
}

// checkTree checks the file's newest valid state, as bbolt would choose it.
func checkTree(file io.ReaderAt, pageSize int) error {
	c := treeCheck{file: file, pageSize: uint64(pageSize), used: map[uint64]bool{}}
	newest, err := newestMeta(file, pageSize)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	c.end = le.Uint64(newest[40:])
	if err := c.walk(le.Uint64(newest[16:])); err != nil {
		return err
	}
	return c.checkFree(le.Uint64(newest[32:]))
}

// newestMeta reads the head that bbolt would choose.
func newestMeta(file io.ReaderAt, pageSize int) (newest []byte, err error) {
	for i := range int64(2) {
		meta := make([]byte, metaSize)
		if _, err := file.ReadAt(meta, i*int64(pageSize)+pageHeader); err != nil {
			return nil, fmt.Errorf("read its head: %w", err)
		}
		if validMeta(meta) && (newest == nil || txid(meta) > txid(newest)) {
			newest = meta
		}
	}
	if newest == nil {
		return nil, errors.New("it has no valid head")
	}
	return newest, nil
}

func validMeta(m []byte) bool {
	sum := fnv.New64a()
	sum.Write(m[:metaSummed])
	return binary.LittleEndian.Uint32(m) == metaMagic && sum.Sum64() == binary.LittleEndian.Uint64(m[metaSummed:])
}

func txid(meta []byte) uint64 { return binary.LittleEndian.Uint64(meta[48:]) }

// read returns a page with its overflow pages, and marks them used.
func (c *treeCheck) read(id uint64) ([]byte, error) {
	head := make([]byte, pageHeader)
	if id < 2 || id >= c.end {
		return nil, fmt.Errorf("%w: page %d of %d", errPages, id, c.end)
	}
	if _, err := c.file.ReadAt(head, int64(id*c.pageSize)); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	more := uint64(binary.LittleEndian.Uint32(head[12:]))
	if binary.LittleEndian.Uint64(head) != id || id+more >= c.end {
		return nil, fmt.Errorf("%w: page %d says %d", errPages, id, binary.LittleEndian.Uint64(head))
	}
	for i := id; i <= id+more; i++ {
		if c.used[i] {
			return nil, fmt.Errorf("%w: page %d is in two places", errPages, i)
		}
		c.used[i] = true
	}
	page := make([]byte, (more+1)*c.pageSize)
	if _, err := c.file.ReadAt(page, int64(id*c.pageSize)); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	return page, nil
}

func (c *treeCheck) walk(id uint64) error {
	page, err := c.read(id)
	if err != nil {
		return err
	}
	flags, count := binary.LittleEndian.Uint16(page[8:]), int(binary.LittleEndian.Uint16(page[10:]))
	if (flags != branchPage && flags != leafPage) || pageHeader+count*elementSize > len(page) {
		return fmt.Errorf("%w: page %d is of type %#x with %d elements", errPages, id, flags, count)
	}
	for i := range count {
		at := pageHeader + i*elementSize
		if flags == branchPage {
			err = c.walkBranch(page, at)
		} else {
			err = c.walkLeaf(page, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *treeCheck) walkBranch(page []byte, at int) error {
	le := binary.LittleEndian
	if err := inside(page, at, le.Uint32(page[at:]), le.Uint32(page[at+4:]), 0); err != nil {
		return err
	}
	return c.walk(le.Uint64(page[at+8:]))
}

func (c *treeCheck) walkLeaf(page []byte, at int) error {
	le := binary.LittleEndian
	pos, key, value := le.Uint32(page[at+4:]), le.Uint32(page[at+8:]), le.Uint32(page[at+12:])
	if err := inside(page, at, pos, key, value); err != nil {
		return err
	}
	if le.Uint32(page[at:])&bucketElement == 0 || value < 16 {
		return nil
	}
	// A bucket: the number of its root page, or 0 when it lies in the value.
	if root := le.Uint64(page[at+int(pos)+int(key):]); root != 0 {
		return c.walk(root)
	}
	return nil
}

// inside checks that an element's key and value lie in its page.
func inside(page []byte, at int, pos, key, value uint32) error {
	if uint64(at)+uint64(pos)+uint64(key)+uint64(value) > uint64(len(page)) {
		return fmt.Errorf("%w: an element reaches beyond its page", errPages)
	}
	return nil
}

// checkFree makes sure that bbolt will not write over a page in use.
func (c *treeCheck) checkFree(id uint64) error {
	if id == noFreelist {
		return nil
	}
	page, err := c.read(id)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	count, ids := uint64(le.Uint16(page[10:])), page[pageHeader:]
	if count == manyFree {
		count, ids = le.Uint64(ids), ids[8:]
	}
	if le.Uint16(page[8:]) != freelistPage || count > uint64(len(ids)/8) {
		return fmt.Errorf("%w: no list of free pages", errPages)
	}
	for i := range count {
		if free := le.Uint64(ids[i*8:]); free < 2 || free >= c.end || c.used[free] {
			return fmt.Errorf("%w: page %d is listed as free", errPages, free)
		}
	}
	return nil
}
