package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// configMetrics tell whether the configuration in force is the one in the file, and whether it enforces.
type configMetrics struct {
	failures prometheus.Counter
	success  prometheus.Gauge
	restart  prometheus.Gauge
	audited  prometheus.Gauge
	unsafe   prometheus.Gauge
}

func newConfigMetrics(r prometheus.Registerer) *configMetrics {
	m := &configMetrics{
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sealgate_config_reload_failures_total", Help: "Configurations that were not taken; the one before stayed in force.",
		}),
		success: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sealgate_config_last_reload_success", Help: "1 when the newest configuration is in force, 0 when an older one is.",
		}),
		restart: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sealgate_config_restart_needed", Help: "Settings that were changed and take effect after a restart only.",
		}),
		audited: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sealgate_policies_in_audit_mode", Help: "Policies that record what they would refuse and refuse nothing.",
		}),
		unsafe: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sealgate_config_unsafe_settings", Help: "Settings that are set and whose name ends with _unsafe.",
		}),
	}
	r.MustRegister(m.failures, m.success, m.restart, m.audited, m.unsafe)
	return m
}

// newMetrics is a registry with what every Go process tells, and which build this is.
func newMetrics(b build) *prometheus.Registry {
	r := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sealgate_build_info", Help: "Always 1; the labels say which build runs.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "go_version": b.Go},
	})
	info.Set(1)
	r.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
