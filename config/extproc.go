package config

import (
	"os"
	"path/filepath"
	"time"
)

type rawExtproc struct {
	Listen     *string  `yaml:"listen"`
	Admin      *string  `yaml:"admin"`
	AdminHosts []string `yaml:"admin_hosts" is:"a list of host names|[admin.example.com]"`
	XDS        *string  `yaml:"xds"`
	State      *string  `yaml:"state"`
	Affinity   struct {
		Strategy          *string   `yaml:"strategy"`
		Capacity          *int      `yaml:"capacity"`
		DefaultExpiration *duration `yaml:"default_expiration"`
		CleanupInterval   *duration `yaml:"cleanup_interval"`
	} `yaml:"affinity"`
	Store struct {
		Memory *struct {
			Path string    `yaml:"path"`
			Sync *duration `yaml:"sync"`
		} `yaml:"memory"`
		Valkey *rawValkey `yaml:"valkey"`
	} `yaml:"store"`
	FastPath *struct {
		Table string `yaml:"table"`
	} `yaml:"fast_path"`
	Limits rawLimits `yaml:"limits"`
}

// LoadExtproc reads and checks extproc's configuration. It reports every fault
// it finds, one a line.
func LoadExtproc(file string, opts ...Option) (*Extproc, error) {
	var raw rawExtproc
	doc, err := decodeFile(file, &raw, opts)
	if err != nil {
		return nil, err
	}
	return raw.check(doc)
}

func (raw *rawExtproc) check(doc *document) (*Extproc, error) {
	cfg := &Extproc{
		Listen:     or(raw.Listen, DefaultExtprocListen),
		Admin:      or(raw.Admin, DefaultExtprocAdmin),
		AdminHosts: raw.AdminHosts,
		XDS:        or(raw.XDS, DefaultXDSListen),
		Affinity: Affinity{
			Strategy:          or(raw.Affinity.Strategy, "lru"),
			Capacity:          or(raw.Affinity.Capacity, 1_000_000),
			DefaultExpiration: orDuration(raw.Affinity.DefaultExpiration, 30*time.Minute),
			CleanupInterval:   orDuration(raw.Affinity.CleanupInterval, time.Minute),
		},
		Store:  Store{Memory: &MemoryStore{Sync: time.Second}},
		Limits: raw.Limits.check(doc, path{"limits"}),
	}
	doc.grpcAddress(path{"listen"}, cfg.Listen)
	doc.listenAddress(path{"admin"}, cfg.Admin)
	doc.hostNames(path{"admin_hosts"}, cfg.AdminHosts)
	doc.grpcAddress(path{"xds"}, cfg.XDS)
	if raw.State != nil {
		if cfg.State = doc.Beside(*raw.State); cfg.State == "" {
			doc.Refuse(path{"state"}, "is empty: name a file, or leave it out to keep none")
		}
	}
	cfg.Affinity.check(doc, path{"affinity"})
	raw.store(doc, cfg)
	raw.fastPath(doc, cfg)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return cfg, nil
}

func (raw *rawExtproc) store(doc *document, cfg *Extproc) {
	if m := raw.Store.Memory; m != nil {
		*cfg.Store.Memory = MemoryStore{Path: doc.Beside(m.Path), Sync: orDuration(m.Sync, time.Second)}
	}
	if d := cfg.Store.Memory.Sync; d != 0 && d < 10*time.Millisecond {
		doc.Refuse(path{"store", "memory", "sync"}, "must be at least 10ms, or 0s for every batch of changes")
	}
	if v := raw.Store.Valkey; v != nil {
		if raw.Store.Memory != nil {
			doc.Refuse(path{"store"}, "has memory and valkey: choose one")
		}
		cfg.Store = Store{Valkey: v.check(doc, path{"store", "valkey"})}
	}
}

// fastPath refuses a table that could never be written: the folder is not made, for one
// in /dev/shm or on a shared volume that is misspelt would be found by no Envoy.
func (raw *rawExtproc) fastPath(doc *document, cfg *Extproc) {
	if raw.FastPath == nil {
		return
	}
	at := path{"fast_path", "table"}
	cfg.FastPath.Table = doc.Beside(raw.FastPath.Table)
	if cfg.FastPath.Table == "" {
		doc.Refuse(at, "is missing: name a file, or leave fast_path out")
		return
	}
	dir := filepath.Dir(cfg.FastPath.Table)
	if info, err := os.Stat(dir); err != nil {
		doc.Refuse(at, "its folder: %v", err)
	} else if !info.IsDir() {
		doc.Refuse(at, "%s is no folder", dir)
	}
	if info, err := os.Stat(cfg.FastPath.Table); err == nil && !info.Mode().IsRegular() {
		doc.Refuse(at, "%s is there already, and no regular file", cfg.FastPath.Table)
	}
}

func (a *Affinity) check(doc *document, at path) {
	doc.Known(at.With("strategy"), a.Strategy, doc.evictionStrategies)
	if a.Capacity < 1 {
		doc.Refuse(at.With("capacity"), "must be at least 1")
	}
	if a.DefaultExpiration < time.Second {
		doc.Refuse(at.With("default_expiration"), "must be at least 1s")
	}
	if a.CleanupInterval < 10*time.Millisecond {
		doc.Refuse(at.With("cleanup_interval"), "must be at least 10ms")
	}
}
