package inventory

import (
	"cmp"
	"time"

	"github.com/sealgate/sealgate/verifier/inspect"
)

// Limits bound a child. The zero value is the defaults.
type Limits struct {
	Memory int64         `json:"memory"` // bytes of its data, 2 GiB
	CPU    time.Duration `json:"cpu"`    // of all its threads together, 5 minutes
	Time   time.Duration `json:"time"`   // from start to answer, 5 minutes
	Output int64         `json:"output"` // bytes of its answer, 64 MiB
	Spool  int64         `json:"spool"`  // bytes of the image's layers without compression, 8 GiB
}

func (l Limits) orDefaults() Limits {
	return Limits{
		Memory: cmp.Or(l.Memory, 2<<30),
		CPU:    cmp.Or(l.CPU, 5*time.Minute),
		Time:   cmp.Or(l.Time, 5*time.Minute),
		Output: cmp.Or(l.Output, 64<<20),
		Spool:  min(cmp.Or(l.Spool, inspect.MaxImageBytes), inspect.MaxImageBytes),
	}
}
