package extproc

import (
	"fmt"
	"sync"
)

// leftOut is what a FastPath would not take. It is changed under the directory's lock, and
// read by who asks how this process is.
type leftOut struct {
	mu       sync.Mutex
	services map[string]string            // by name, why
	pods     map[string]map[string]string // by service and name, why
}

// service notes whether a service was taken.
func (l *leftOut) service(name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		delete(l.services, name)
		return
	}
	if l.services == nil {
		l.services = map[string]string{}
	}
	l.services[name] = err.Error()
}

// pod notes whether a pod was taken; one that is gone was, too.
func (l *leftOut) pod(service, name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		if delete(l.pods[service], name); len(l.pods[service]) == 0 {
			delete(l.pods, service)
		}
		return
	}
	if l.pods == nil {
		l.pods = map[string]map[string]string{}
	}
	if l.pods[service] == nil {
		l.pods[service] = map[string]string{}
	}
	l.pods[service][name] = err.Error()
}

// forget is for a service that is gone, with its pods.
func (l *leftOut) forget(service string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.services, service)
	delete(l.pods, service)
}

// all says what is left out; nothing where nothing is. Of many one reason stands for all.
func (l *leftOut) all() (said []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, why := range l.services {
		said = append(said, fmt.Sprintf("%d of the services are left out of the fast path, one of them %q: %s", len(l.services), name, why))
		break
	}
	n, example := 0, ""
	for _, pods := range l.pods {
		n += len(pods)
		for _, why := range pods {
			example = why
			break
		}
	}
	if n > 0 {
		said = append(said, fmt.Sprintf("%d of the pods are left out of the fast path, one of them: %s", n, example))
	}
	return said
}
