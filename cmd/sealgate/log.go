package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
)

// logFormat is how log lines look. It is a [pflag.Value]; empty is text on a terminal and json elsewhere.
type logFormat string

func (f *logFormat) String() string { return string(*f) }
func (f *logFormat) Type() string   { return "text|json" }

func (f *logFormat) Set(s string) error {
	if s != "text" && s != "json" {
		return errors.New("is neither text nor json")
	}
	*f = logFormat(s)
	return nil
}

// logger writes lines to w by way of late.
func (f *logFormat) logger(w io.Writer, late *lateWriter) *slog.Logger {
	if *f == "text" || *f == "" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(late, nil))
	}
	return slog.New(slog.NewJSONHandler(late, nil))
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	stat, err := file.Stat()
	return err == nil && stat.Mode()&os.ModeCharDevice != 0
}
