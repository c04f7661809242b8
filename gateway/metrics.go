package gateway

import (
	"errors"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/gateway/ledger"
)

// metrics counts by kind, outcome and status class: labels with a fixed set of values. Never by repository, tag, digest or
// anything else that a client chooses.
type metrics struct {
	requests  *prometheus.CounterVec
	decisions *prometheus.CounterVec
	seals     *prometheus.CounterVec
	logins    *prometheus.CounterVec
	panics    prometheus.Counter
	corrupt   prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealgate_requests_total", Help: "Requests by kind and class of the status that answered them.",
		}, []string{"kind", "class"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealgate_decisions_total", Help: "Decisions by action, outcome and mode of the policy.",
		}, []string{"action", "outcome", "mode"}),
		seals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealgate_seals_total", Help: "Seals of manifests, by what came of them: sealed, failed. What fails is not published.",
		}, []string{"outcome"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealgate_logins_total", Help: "Passwords and tokens that were shown, by what came of them: accepted, refused, limited, undecided.",
		}, []string{"outcome"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sealgate_panics_total", Help: "Requests that ended in a panic; none of them was admitted.",
		}),
		corrupt: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sealgate_upstream_corrupt_total", Help: "Answers of an upstream whose bytes were not those of the digest.",
		}),
	}
	r.MustRegister(m.requests, m.decisions, m.seals, m.logins, m.panics, m.corrupt)
	return m
}

// upstreamHealth is what the registries in force say of themselves. The label is a configured name.
type upstreamHealth struct {
	regime *atomic.Pointer[Regime]
}

var (
	restingMetric = prometheus.NewDesc("sealgate_upstream_resting", "1 while a registry is left alone because it failed repeatedly.", []string{"registry"}, nil)
	refusedMetric = prometheus.NewDesc("sealgate_upstream_unsent_total", "Requests that were not sent to a registry because it was left alone.", []string{"registry"}, nil)
	retriesMetric = prometheus.NewDesc("sealgate_upstream_retries_total", "Requests that were sent to a registry once more.", []string{"registry"}, nil)
)

// Describe implements [prometheus.Collector].
func (u upstreamHealth) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{restingMetric, refusedMetric, retriesMetric} {
		descriptions <- d
	}
}

// Collect implements [prometheus.Collector].
func (u upstreamHealth) Collect(values chan<- prometheus.Metric) {
	re := u.regime.Load()
	if re == nil || re.Registries == nil {
		return
	}
	for _, registry := range re.Registries.All() {
		health, resting := registry.Health(), 0.0
		if health.Resting {
			resting = 1
		}
		values <- prometheus.MustNewConstMetric(restingMetric, prometheus.GaugeValue, resting, registry.Name())
		values <- prometheus.MustNewConstMetric(refusedMetric, prometheus.CounterValue, float64(health.Refused), registry.Name())
		values <- prometheus.MustNewConstMetric(retriesMetric, prometheus.CounterValue, float64(health.Retries), registry.Name())
	}
}

func (m *metrics) request(kind Kind, status int) {
	if kind == "" {
		kind = "unrouted"
	}
	class := "aborted"
	if status >= 100 {
		class = strconv.Itoa(status/100) + "xx"
	}
	m.requests.WithLabelValues(string(kind), class).Inc()
}

func (m *metrics) decision(d ledger.Decision) {
	mode := "enforce"
	if d.Audit {
		mode = "audit"
	}
	m.decisions.WithLabelValues(string(d.Action), string(d.Outcome), mode).Inc()
}

func (m *metrics) seal(err error) {
	outcome := "sealed"
	if err != nil {
		outcome = "failed"
	}
	m.seals.WithLabelValues(outcome).Inc()
}

func (m *metrics) login(err error) {
	outcome := "accepted"
	limited, unknown := new(clients.LimitedError), new(clients.IssuerError)
	switch {
	case errors.As(err, &limited):
		outcome = "limited"
	case errors.As(err, &unknown):
		outcome = "undecided"
	case err != nil:
		outcome = "refused"
	}
	m.logins.WithLabelValues(outcome).Inc()
}
