package scan

// Limits bound a scanner's process. The zero value is the defaults.
type Limits struct {
	Memory  uint64 `json:"memory"`  // bytes of data, [MaxMemory]
	Scratch int64  `json:"scratch"` // bytes on disk, [MaxScratch]
}

func (l Limits) orDefaults() Limits {
	if l.Memory == 0 {
		l.Memory = MaxMemory
	}
	if l.Scratch == 0 {
		l.Scratch = MaxScratch
	}
	return l
}
