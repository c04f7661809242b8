package main

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sealgate/sealgate/verifier"
)

const (
	renewalTick  = 15 * time.Second // how often it is looked what is due
	renewalRetry = 10 * time.Minute // after a failure, where a root is not renewed more often
	renewalTime  = 2 * time.Minute  // for one
)

// renewals renews the trust roots that are to be renewed. What is new is a file that the reloader watches: the regime is built
// anew with it, like with any other. After a failure the root stays what it was, and grows older.
type renewals struct {
	log      *slog.Logger
	current  atomic.Pointer[trustRoots]
	dated    *prometheus.GaugeVec
	failures *prometheus.CounterVec
}

func newRenewals(log *slog.Logger, r prometheus.Registerer) *renewals {
	all := &renewals{
		log: log,
		dated: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sealgate_trust_root_timestamp_seconds", Help: "Of which time a trust root is: when it was last known to be the newest.",
		}, []string{"root"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealgate_trust_root_renewal_failures_total", Help: "Renewals of a trust root that failed; the root stayed what it was.",
		}, []string{"root"}),
	}
	r.MustRegister(all.dated, all.failures)
	return all
}

// take makes these the roots that are renewed.
func (a *renewals) take(roots trustRoots) {
	a.current.Store(&roots)
	a.dated.Reset()
	for name, root := range roots {
		a.dated.WithLabelValues(name).Set(float64(root.age.dated().Unix()))
		if root.refresh > 0 {
			a.failures.WithLabelValues(name).Add(0)
		}
	}
}

// run renews what is due, until the context ends.
func (a *renewals) run(ctx context.Context) {
	tick := time.NewTicker(renewalTick)
	defer tick.Stop()
	retry := map[string]time.Time{} // by directory, after failures
	for {
		if roots := a.current.Load(); roots != nil {
			for name, root := range *roots {
				if root.refresh > 0 && time.Since(root.age.dated()) >= root.refresh && !time.Now().Before(retry[root.repository.Directory]) {
					if err := a.renew(ctx, name, root); err != nil {
						retry[root.repository.Directory] = time.Now().Add(min(root.refresh, renewalRetry))
					}
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *renewals) renew(ctx context.Context, name string, root *trustRoot) error {
	limited, cancel := context.WithTimeout(ctx, renewalTime)
	defer cancel()
	changed, err := root.repository.Renew(limited, checkTrustRoot)
	if err != nil {
		if ctx.Err() == nil {
			a.failures.WithLabelValues(name).Inc()
			a.log.Error("trust root not renewed; it stays what it was", "root", name, "of", root.age.dated().UTC().Format(time.DateOnly), "error", err)
		}
		return err
	}
	root.age.set(time.Now())
	a.dated.WithLabelValues(name).Set(float64(root.age.dated().Unix()))
	a.log.Info("trust root renewed", "root", name, "changed", changed)
	return nil
}

func checkTrustRoot(raw []byte) error {
	all, err := verifier.ParseTrustRoots(raw)
	if err != nil {
		return err
	}
	for _, one := range all {
		if len(one.FulcioCertificateAuthorities()) == 0 {
			return errors.New("a trusted root without a certificate authority")
		}
	}
	return nil
}
