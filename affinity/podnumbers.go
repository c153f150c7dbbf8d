package affinity

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// podNumbers gives the pods that ghosts name numbers of 16 bits. A process meets any
// number of pods in its life, so the pods that were asked for longest ago lose
// theirs. A number is given again only after all others were: by then no ghost is
// left of it, but by chance, and that one leads to a pod as good as any.
type podNumbers struct {
	mu       sync.Mutex
	byName   *simplelru.LRU[podName, *numberedPod]
	byNumber map[uint16]*numberedPod
	last     uint16
}

type podName struct {
	service *service
	name    string
}

// numberedPod is a pod with a number, which is never 0, until retired.
type numberedPod struct {
	podName
	number  uint16
	retired atomic.Bool
}

// mostNumbered leaves half of the numbers unused for a while.
const mostNumbered = 1 << 15

func newPodNumbers(most int) *podNumbers {
	p := &podNumbers{byNumber: map[uint16]*numberedPod{}}
	lru, err := simplelru.NewLRU(most, func(_ podName, n *numberedPod) {
		n.retired.Store(true)
		delete(p.byNumber, n.number)
	})
	if err != nil {
		panic(err) // a size below 1
	}
	p.byName = lru
	return p
}

// of returns a pod with its number, which it gets if need be.
func (p *podNumbers) of(name podName) *numberedPod {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n, ok := p.byName.Get(name); ok {
		return n
	}
	for p.last++; p.last == 0 || p.byNumber[p.last] != nil; p.last++ {
	}
	name.name = strings.Clone(name.name) // it may be a piece of something larger
	n := &numberedPod{podName: name, number: p.last}
	p.byNumber[n.number] = n
	p.byName.Add(name, n)
	return n
}

// ofPod is of, which the pod has at hand if it was asked before.
func (p *podNumbers) ofPod(s *service, pod *pod) uint16 {
	n := pod.numbered.Load()
	if n == nil || n.retired.Load() {
		n = p.of(podName{s, pod.name})
		pod.numbered.Store(n)
	}
	return n.number
}

// pod returns the name of a service's pod with the number; ok is false if there is
// none by now.
func (p *podNumbers) pod(s *service, number uint16) (name string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.byNumber[number]
	if n == nil || n.service != s {
		return "", false
	}
	return n.name, true
}

// retire takes the numbers of a pod of a service, of all its pods with an empty
// name, and of all there are without a service: what ghosts say of them is over.
func (p *podNumbers) retire(of podName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if of.name != "" {
		p.byName.Remove(of)
		return
	}
	for _, k := range p.byName.Keys() {
		if of.service == nil || k.service == of.service {
			p.byName.Remove(k)
		}
	}
}
