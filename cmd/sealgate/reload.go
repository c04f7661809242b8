package main

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/sealgate/sealgate/gateway"
)

const (
	reloadDebounce = 200 * time.Millisecond
	reloadPoll     = 30 * time.Second
)

// reloader keeps a gateway under the newest configuration that is whole. Each load is all or nothing: a regime that was
// built completely replaces the old one in one swap; after any error the old one stays in force and an alarm is raised.
// Its methods are for one goroutine; what it enforces, and the doors, are for all.
type reloader struct {
	load    func() (*Loaded, error)
	enforce func(*gateway.Regime)
	builder *builder
	log     *slog.Logger
	metrics *configMetrics

	renewals *renewals // nil: no trust root is renewed

	debounce time.Duration // how long files must stay the same before they are read
	poll     time.Duration // how often to look where no event tells, as on network file systems

	public, admin atomic.Pointer[door] // the listeners'
	running       *Loaded
	seen          snapshot // the files as they were when they were last read
}

// start loads for the first time. Its error is final.
func (r *reloader) start(loaded *Loaded) (*built, error) {
	r.running = loaded
	r.seen = look(loaded.watched())
	made, err := r.builder.build(loaded)
	if err != nil {
		return nil, err
	}
	return made, r.take(loaded, made)
}

// run reloads when a file changed and stayed the same since, and when it is told to, until the context ends.
func (r *reloader) run(ctx context.Context, told <-chan os.Signal) {
	var events chan fsnotify.Event // nil without a watcher: then polling has to do
	var failures chan error
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		r.log.Warn("cannot watch files, so changes are seen late", "after", r.poll.String(), "error", err)
	} else {
		defer watcher.Close()
		events, failures = watcher.Events, watcher.Errors
	}

	poll := time.NewTicker(r.poll)
	defer poll.Stop()
	settle := time.NewTimer(r.debounce)
	defer settle.Stop()
	waiting := true // settle is running
	var pending snapshot
	for {
		if watcher != nil {
			for directory := range r.seen.directories() {
				_ = watcher.Add(directory) // what is not there cannot be watched, and the poll finds it when it comes
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-told:
			r.reload()
			continue
		case <-settle.C:
			waiting = false
			now := look(slices.Collect(maps.Keys(r.seen)))
			switch {
			case maps.Equal(now, r.seen):
				pending = nil
				continue
			case maps.Equal(now, pending):
				pending = nil
				r.reload()
				continue
			}
			pending = now // somebody may be writing still
		case <-events:
		case <-failures:
		case <-poll.C:
		}
		if !waiting {
			settle.Reset(r.debounce)
			waiting = true
		}
	}
}

// reload loads again. After an error nothing changed.
func (r *reloader) reload() {
	if err := r.tryReload(); err != nil {
		r.metrics.failures.Inc()
		r.metrics.success.Set(0)
		r.log.Error("configuration not taken; the one before stays in force", "error", err)
	}
}

func (r *reloader) tryReload() error {
	loaded, err := r.read()
	if err != nil {
		return err
	}
	unchangeable := loaded.Config.holdFixed(&r.running.Config)
	made, err := r.builder.build(loaded)
	if err != nil {
		return err
	}
	if err := r.take(loaded, made); err != nil {
		r.log.Warn("close a registry that is no more", "error", err)
	}

	r.log.Info("configuration taken", "policy_version", made.Regime.Policy.Version(),
		"policies", policyNames(&loaded.Config), "authorities", made.Authorities)
	r.metrics.restart.Set(float64(len(unchangeable)))
	if len(unchangeable) > 0 {
		r.log.Warn("changed settings need a restart", "settings", unchangeable)
	}
	warnOfAudit(r.log, made.Audited)
	made.logWarnings(r.log)
	return nil
}

// read loads the configuration, and notes what its files looked like before they were opened: what changes later is seen
// as a change.
func (r *reloader) read() (*Loaded, error) {
	file := r.running.file
	before := appearance(file)
	files := r.running.watched()
	loaded, err := r.load()
	if err == nil {
		files = loaded.watched()
	}
	r.seen = look(files)
	if file != "" {
		r.seen[file] = before
	}
	return loaded, err
}

// take puts what was built in force.
func (r *reloader) take(loaded *Loaded, made *built) error {
	r.public.Store(made.Public)
	r.admin.Store(made.Admin)
	r.enforce(made.Regime)
	r.running = loaded
	if r.renewals != nil {
		r.renewals.take(made.Roots)
	}
	r.metrics.success.Set(1)
	r.metrics.audited.Set(float64(len(made.Audited)))
	r.metrics.unsafe.Set(float64(len(loaded.Config.unsafe())))
	return r.builder.keep(made)
}

// holdFixed keeps the settings that cannot change while we run at what they are, and names those that should have changed.
func (c *Config) holdFixed(running *Config) (changed []string) {
	hold := func(path string, differs bool) {
		if differs {
			changed = append(changed, path)
		}
	}
	hold("listen.address", c.Listen.Address != running.Listen.Address)
	hold("listen.external_url", c.Listen.ExternalURL != running.Listen.ExternalURL)
	hold("listen.trusted_proxies", !slices.Equal(c.Listen.TrustedProxies, running.Listen.TrustedProxies))
	hold("listen.acme", !reflect.DeepEqual(c.Listen.ACME, running.Listen.ACME))
	hold("admin.address", c.Admin.Address != running.Admin.Address)
	hold("storage.directory", c.Storage != running.Storage)
	hold("delete.allowed", c.Delete != running.Delete)

	// A certificate may move. Whether there is one may not, and then neither does what is asked of clients by it.
	keep := func(path string, now *TLS, running TLS) {
		if differs := (now.Certificate == "") != (running.Certificate == ""); differs {
			hold(path, true)
			*now = running
		}
	}
	keep("listen.tls", &c.Listen.TLS, running.Listen.TLS)
	keep("admin.tls", &c.Admin.TLS, running.Admin.TLS)
	c.Listen.ACME = running.Listen.ACME
	c.Listen.Address, c.Listen.ExternalURL, c.Listen.TrustedProxies = running.Listen.Address, running.Listen.ExternalURL, running.Listen.TrustedProxies
	c.Admin.Address, c.Storage, c.Delete = running.Admin.Address, running.Storage, running.Delete
	return changed
}

func policyNames(c *Config) []string {
	var names []string
	for _, p := range c.Policies {
		names = append(names, p.Name)
	}
	return names
}

func warnOfAudit(log *slog.Logger, audited []string) {
	if len(audited) > 0 {
		log.Warn("AUDIT MODE: these policies refuse nothing, they only record what they would refuse", "policies", audited)
	}
}
