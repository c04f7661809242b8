package main

import "log/slog"

// warning is something in a configuration that is no mistake, and that an operator should know.
type warning struct {
	text   string
	fields []any
}

func (m *built) warn(text string, fields ...any) {
	m.Warnings = append(m.Warnings, warning{text, fields})
}

func (m *built) logWarnings(log *slog.Logger) {
	for _, w := range m.Warnings {
		log.Warn(w.text, w.fields...)
	}
}
