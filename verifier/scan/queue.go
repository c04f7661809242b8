package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// QueueOptions are a queue's settings. The zero value of each number is its default.
type QueueOptions struct {
	Log     *slog.Logger          // required
	Metrics prometheus.Registerer // nil: nothing is counted

	AtOnce  int           // scans that run at the same time, 2
	Waiting int           // scans that wait, 256
	Each    int           // of them of one repository, 64
	Memory  int           // bytes of what is remembered, 128 MiB
	Wait    time.Duration // that a caller waits, [MaxWait]
}

// Queue scans images one after the other and remembers what was found. It outlives scanners, as what is in an image outlives
// a configuration. It is safe for concurrent use. The caller closes it.
type Queue struct {
	log     *slog.Logger
	metrics *queueMetrics
	turns   *turns
	wait    time.Duration
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	known   *simplelru.LRU[resultKey, result]
	weight  int // of all that is known, in bytes
	memory  int
	flights map[resultKey]*flight
}

// resultKey is everything that a report depends on.
type resultKey struct {
	scanner string // its fingerprint
	edition string
	image   digest.Digest
}

// result is a report, or an error that nobody was there to hear.
type result struct {
	report Report
	err    error
	until  time.Time // for which it is an answer
}

// weight is about what a result takes in memory.
func (r result) weight() int {
	return 1024 + len(r.report.SBOM) + len(r.report.SPDX) + 512*(len(r.report.Findings)+len(r.report.Inventory))
}

// flight is a scan under way.
type flight struct {
	repo    string
	began   time.Time
	done    chan struct{}
	waiting int // callers; with the queue's lock
	report  Report
	err     error
}

const (
	reportedFor = 24 * time.Hour  // is how long a report is an answer: who pushes an image again for its scan to be newer gets a newer one
	unheardFor  = 2 * time.Minute // is how long a failure waits for the push that asks for it again
)

// NewQueue makes a queue.
func NewQueue(o QueueOptions) *Queue {
	or := func(n, standard int) int {
		if n > 0 {
			return n
		}
		return standard
	}
	ctx, stop := context.WithCancel(context.Background())
	q := &Queue{
		log: o.Log, turns: newTurns(or(o.AtOnce, 2), or(o.Waiting, 256), or(o.Each, 64)), wait: o.Wait,
		ctx: ctx, stop: stop, memory: or(o.Memory, 128<<20), flights: map[resultKey]*flight{},
	}
	known, err := simplelru.NewLRU(1<<20, func(_ resultKey, r result) { q.weight -= r.weight() })
	if err != nil {
		panic("scan: the size of a cache is a positive constant: " + err.Error())
	}
	q.known = known
	if q.wait <= 0 {
		q.wait = MaxWait
	}
	q.metrics = newQueueMetrics(o.Metrics, q)
	return q
}

// Close ends all scans, and returns when the last of them has cleaned up.
func (q *Queue) Close() error {
	q.stop()
	q.running.Wait()
	return nil
}

// Before returns a scanner that goes through the queue. The fingerprint changes with what the scanner is configured to be.
func (q *Queue) Before(s Scanner, name, fingerprint string) *Queued {
	return &Queued{queue: q, scanner: s, name: name, fingerprint: name + "\x00" + fingerprint}
}

// Queued is a scanner behind a queue.
type Queued struct {
	queue             *Queue
	scanner           Scanner
	name, fingerprint string
}

// Scan is what a gateway wants of a scanner: what was found, and what can be attested of it. See [Queued.Report].
func (s *Queued) Scan(ctx context.Context, repo string, m *manifest.Manifest) (policy.Scan, []policy.Statement, error) {
	report, err := s.Report(ctx, repo, m)
	if err != nil {
		return policy.Scan{}, nil, err
	}
	statements, err := report.Statements(Image{Repo: repo, Manifest: m})
	return report.Scan, statements, err
}

// Report returns what is known of an image, or has it scanned. When the caller's time ends, or the queue's patience, the scan
// goes on and the error wraps [policy.ErrUnfinished]: asked again, the queue answers from what was found.
func (s *Queued) Report(ctx context.Context, repo string, m *manifest.Manifest) (Report, error) {
	edition, err := s.scanner.Edition(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("%w: ask the scanner for its version: %w", ErrUnknown, err)
	}
	key := resultKey{s.fingerprint, edition, m.Digest}
	for {
		f, known, err := s.join(ctx, key, repo, m)
		if f == nil {
			return known, err
		}
		err = s.queue.waitFor(ctx, f)
		if errors.Is(err, policy.ErrUnfinished) {
			return Report{}, err // the flight is still writing its own
		}
		if err == nil || f.repo == repo {
			return f.report, err
		}
		// It failed where it was read from, which is another repository than ours.
	}
}

// join returns what is known, or a flight: the one that is under way, or a new one.
func (s *Queued) join(ctx context.Context, key resultKey, repo string, m *manifest.Manifest) (*flight, Report, error) {
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if known, ok := q.known.Get(key); ok {
		current := time.Now().Before(known.until)
		if current && known.err == nil {
			q.metrics.remembered(s.name)
			return nil, known.report, nil
		}
		q.known.Remove(key) // it is too old, or heard: the next one tries again
		if current {
			return nil, Report{}, known.err
		}
	}
	if f := q.flights[key]; f != nil {
		f.waiting++
		return f, Report{}, nil
	}
	if q.ctx.Err() != nil {
		return nil, Report{}, fmt.Errorf("%w: %w", ErrUnknown, q.ctx.Err())
	}
	f := &flight{repo: repo, began: time.Now(), done: make(chan struct{}), waiting: 1}
	q.flights[key] = f
	q.running.Add(1)
	go s.fly(context.WithoutCancel(ctx), f, key, m)
	return f, Report{}, nil
}

func (q *Queue) waitFor(ctx context.Context, f *flight) error {
	ctx, cancel := context.WithTimeout(ctx, q.wait)
	defer cancel()
	defer func() {
		q.mu.Lock()
		f.waiting--
		q.mu.Unlock()
	}()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return fmt.Errorf("%w: since %s", policy.ErrUnfinished, time.Since(f.began).Round(time.Second))
	}
}

// fly scans, for all that wait. It is detached: the first client to hang up must not fail the others. What ctx carries, such
// as whose credentials the image is read with, stays.
func (s *Queued) fly(ctx context.Context, f *flight, key resultKey, m *manifest.Manifest) {
	q := s.queue
	defer q.running.Done()
	defer close(f.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(q.ctx, cancel)()
	f.report, f.err = s.scanInTurn(ctx, f, m)

	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.flights, key)
	switch {
	case f.err == nil:
		q.remember(key, result{report: f.report, until: time.Now().Add(reportedFor)})
	case f.waiting == 0:
		q.remember(key, result{err: f.err, until: time.Now().Add(unheardFor)})
	}
}

// remember keeps a result and forgets the oldest ones beyond the memory. The newest stays, however large: somebody is about
// to ask for it again. The caller holds the lock.
func (q *Queue) remember(key resultKey, r result) {
	q.known.Remove(key)
	q.weight += r.weight()
	q.known.Add(key, r)
	for q.weight > q.memory && q.known.Len() > 1 {
		q.known.RemoveOldest()
	}
}

func (s *Queued) scanInTurn(ctx context.Context, f *flight, m *manifest.Manifest) (report Report, err error) {
	q := s.queue
	log := q.log.With("scanner", s.name, "repo", f.repo, "digest", m.Digest.String())
	defer func() {
		if p := recover(); p != nil { // a reader of hostile input must not end the process
			report, err = Report{}, fmt.Errorf("%w: panic: %v", ErrUnknown, p)
		}
		took := time.Since(f.began)
		q.metrics.scanned(s.name, err, took)
		if err != nil {
			log.Warn("scan failed", "took", took.Round(time.Millisecond).String(), "error", err)
			return
		}
		log.Info("scanned", "took", took.Round(time.Millisecond).String(), "findings", len(report.Findings), "packages", report.Packages, "database", report.Database)
	}()
	if err := q.turns.enter(ctx, f.repo); err != nil {
		return Report{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	defer q.turns.leave()
	q.metrics.running.Inc()
	defer q.metrics.running.Dec()

	log.Info("scan begins", "waited", time.Since(f.began).Round(time.Millisecond).String())
	report, err = s.scanner.Scan(ctx, Image{Repo: f.repo, Manifest: m})
	if err != nil && !errors.Is(err, ErrUnknown) {
		err = fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return report, err
}

// queueMetrics counts by scanner and outcome, whose values a configuration bounds.
type queueMetrics struct {
	scans   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	running prometheus.Gauge
}

func newQueueMetrics(r prometheus.Registerer, q *Queue) *queueMetrics {
	m := &queueMetrics{
		scans: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealgate_scans_total", Help: "Scans by scanner and by what came of them: scanned, failed, remembered.",
		}, []string{"scanner", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sealgate_scan_seconds", Help: "Time from the demand for a scan to its end, in seconds.",
			Buckets: []float64{0.5, 1, 2, 5, 10, 20, 60, 120, 300},
		}, []string{"scanner"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{Name: "sealgate_scans_running", Help: "Scans under way."}),
	}
	if r != nil {
		waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sealgate_scans_waiting", Help: "Scans that wait for their turn.",
		}, func() float64 { return float64(q.turns.length()) })
		r.MustRegister(m.scans, m.seconds, m.running, waiting)
	}
	return m
}

func (m *queueMetrics) scanned(name string, err error, took time.Duration) {
	outcome := "scanned"
	if err != nil {
		outcome = "failed"
	}
	m.scans.WithLabelValues(name, outcome).Inc()
	m.seconds.WithLabelValues(name).Observe(took.Seconds())
}

func (m *queueMetrics) remembered(name string) { m.scans.WithLabelValues(name, "remembered").Inc() }
