package main

import (
	"io"
	"os"
	"strings"
	"unicode"
)

// painter colours text where somebody sees it: on a terminal, unless NO_COLOR says otherwise (https://no-color.org).
type painter bool

func newPainter(out io.Writer) painter {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := file.Stat()
	return painter(err == nil && info.Mode()&os.ModeCharDevice != 0)
}

// Colours, as terminals know them.
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (p painter) paint(colour, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// plain makes what somebody else wrote fit for a terminal: no line ends, no escapes, no marks that reverse the text, and
// no more than a screen shows.
func plain(text string) string {
	const most = 300 // characters
	var b strings.Builder
	n := 0
	for _, c := range text {
		if n++; n > most {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(c) {
			c = ' '
		}
		b.WriteRune(c)
	}
	return b.String()
}
