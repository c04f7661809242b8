package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier/scan/scantest"
)

// slow is a scanner that takes its time.
type slow struct {
	takes   time.Duration
	err     error
	edition atomic.Value // string
	scans   atomic.Int32
	atOnce  atomic.Int32
	most    atomic.Int32
	order   chan string
}

func (s *slow) Edition(context.Context) (string, error) {
	if e, ok := s.edition.Load().(string); ok {
		return e, nil
	}
	return "1", nil
}

func (s *slow) Scan(ctx context.Context, image Image) (Report, error) {
	s.scans.Add(1)
	if n := s.atOnce.Add(1); n > s.most.Load() {
		s.most.Store(n)
	}
	defer s.atOnce.Add(-1)
	if s.order != nil {
		s.order <- image.Repo
	}
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return Report{}, ctx.Err()
	}
	return Report{Scan: policy.Scan{Scanner: "slow", Counted: true, Packages: 1}}, s.err
}

func newQueue(t *testing.T, o QueueOptions) *Queue {
	o.Log = slog.New(slog.DiscardHandler)
	q := NewQueue(o)
	t.Cleanup(func() { q.Close() })
	return q
}

func TestOneScanForAllThatAskAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		image := imageOf(t, scantest.Blobs{}, "x")
		s := &slow{takes: 5 * time.Second}
		queued := newQueue(t, QueueOptions{}).Before(s, "slow", "f")
		var group sync.WaitGroup
		for i := range 100 {
			group.Go(func() {
				report, err := queued.Report(context.Background(), fmt.Sprintf("repo%d", i), image.Manifest)
				if err != nil || report.Packages != 1 {
					t.Errorf("got %+v, %v", report, err)
				}
			})
		}
		group.Wait()
		if n := s.scans.Load(); n != 1 {
			t.Errorf("%d scans", n)
		}

		s.edition.Store("2") // a newer database
		if _, err := queued.Report(context.Background(), "repo", image.Manifest); err != nil || s.scans.Load() != 2 {
			t.Errorf("%d scans after the database changed, %v", s.scans.Load(), err)
		}
		other := queued.queue.Before(s, "slow", "another configuration")
		if _, err := other.Report(context.Background(), "repo", image.Manifest); err != nil || s.scans.Load() != 3 {
			t.Errorf("%d scans after the configuration changed, %v", s.scans.Load(), err)
		}
	})
}

func TestALongScanGoesOnAndIsAnsweredLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		image := imageOf(t, scantest.Blobs{}, "x")
		s := &slow{takes: 20 * time.Second}
		queued := newQueue(t, QueueOptions{}).Before(s, "slow", "f")
		ctx, hangUp := context.WithTimeout(context.Background(), time.Second)
		defer hangUp()
		if _, err := queued.Report(ctx, "a", image.Manifest); !errors.Is(err, policy.ErrUnfinished) {
			t.Errorf("the first got %v", err)
		}
		if _, err := queued.Report(context.Background(), "a", image.Manifest); !errors.Is(err, policy.ErrUnfinished) {
			t.Errorf("the second got %v", err)
		}
		report, err := queued.Report(context.Background(), "a", image.Manifest)
		if err != nil || report.Packages != 1 || s.scans.Load() != 1 {
			t.Errorf("the third got %+v, %v after %d scans", report, err, s.scans.Load())
		}
	})
}

// Whoever pushes an image again a day later wants its scan to be of that day, be the database the same.
func TestAReportIsAnAnswerForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		image := imageOf(t, scantest.Blobs{}, "x")
		s := &slow{takes: time.Second}
		queued := newQueue(t, QueueOptions{}).Before(s, "slow", "f")
		for _, c := range []struct {
			after time.Duration
			scans int32
		}{{0, 1}, {reportedFor - time.Minute, 1}, {time.Hour, 2}, {time.Hour, 2}} {
			time.Sleep(c.after)
			if _, err := queued.Report(context.Background(), "a", image.Manifest); err != nil || s.scans.Load() != c.scans {
				t.Errorf("%s later: got %v after %d scans, want %d", c.after, err, s.scans.Load(), c.scans)
			}
		}
	})
}

// A failure that nobody was there to hear is told to the next who asks, and then forgotten.
func TestAFailureIsToldOnceAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		image := imageOf(t, scantest.Blobs{}, "x")
		s := &slow{takes: 20 * time.Second, err: errors.New("no database")}
		queued := newQueue(t, QueueOptions{}).Before(s, "slow", "f")
		if _, err := queued.Report(context.Background(), "a", image.Manifest); !errors.Is(err, policy.ErrUnfinished) {
			t.Errorf("got %v", err)
		}
		time.Sleep(30 * time.Second)
		if _, err := queued.Report(context.Background(), "a", image.Manifest); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "no database") || s.scans.Load() != 1 {
			t.Errorf("got %v after %d scans", err, s.scans.Load())
		}
		s.takes, s.err = time.Second, nil
		if _, err := queued.Report(context.Background(), "a", image.Manifest); err != nil || s.scans.Load() != 2 {
			t.Errorf("got %v after %d scans", err, s.scans.Load())
		}
	})
}

func TestThreat131_AQueueIsBoundedAndFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{takes: time.Second, order: make(chan string, 100)}
		blobs := scantest.Blobs{}
		queued := newQueue(t, QueueOptions{AtOnce: 1, Waiting: 8, Each: 6, Wait: time.Minute}).Before(s, "slow", "f")
		var group sync.WaitGroup
		push := func(repo string, i int) {
			image := imageOf(t, blobs, fmt.Sprint(repo, i))
			group.Go(func() { _, _ = queued.Report(context.Background(), repo, image.Manifest) })
			synctest.Wait()
		}
		for i := range 7 { // one scans, six wait
			push("busy", i)
		}
		one := imageOf(t, blobs, "one too many of a repository")
		if _, err := queued.Report(context.Background(), "busy", one.Manifest); !errors.Is(err, errBusy) {
			t.Errorf("the seventh that would wait for its repository got %v", err)
		}
		push("quiet", 0)
		push("third", 0)
		if _, err := queued.Report(context.Background(), "fourth", one.Manifest); !errors.Is(err, errBusy) {
			t.Errorf("the ninth that would wait got %v", err)
		}
		group.Wait()
		close(s.order)
		var order []string
		for repo := range s.order {
			order = append(order, repo)
		}
		if got := strings.Join(order, " "); got != "busy busy quiet third busy busy busy busy busy" {
			t.Errorf("scanned in the order %s", got)
		}
		if s.most.Load() != 1 {
			t.Errorf("%d scans at once", s.most.Load())
		}
	})
}

func TestAClosedQueueEndsItsScans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		image := imageOf(t, scantest.Blobs{}, "x")
		q := newQueue(t, QueueOptions{})
		queued := q.Before(&slow{takes: time.Hour}, "slow", "f")
		done := make(chan error)
		go func() {
			_, err := queued.Report(context.Background(), "a", image.Manifest)
			done <- err
		}()
		synctest.Wait()
		q.Close()
		if err := <-done; !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v", err)
		}
		if _, err := queued.Report(context.Background(), "a", image.Manifest); !errors.Is(err, ErrUnknown) {
			t.Errorf("afterwards: got %v", err)
		}
	})
}

// A scan that failed because the image is not in one repository says nothing about another.
func TestAFailureElsewhereIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		image := imageOf(t, scantest.Blobs{}, "x")
		queued := newQueue(t, QueueOptions{}).Before(onlyIn("here"), "s", "f")
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := queued.Report(context.Background(), "elsewhere", image.Manifest); !errors.Is(err, ErrUnknown) {
				t.Errorf("elsewhere: got %v", err)
			}
		})
		synctest.Wait()
		group.Go(func() {
			if _, err := queued.Report(context.Background(), "here", image.Manifest); err != nil {
				t.Errorf("here: got %v", err)
			}
		})
		group.Wait()
	})
}

type onlyIn string

func (onlyIn) Edition(context.Context) (string, error) { return "1", nil }

func (o onlyIn) Scan(_ context.Context, image Image) (Report, error) {
	time.Sleep(time.Second)
	if image.Repo != string(o) {
		return Report{}, errors.New("not found")
	}
	return Report{}, nil
}

type panicking struct{}

func (panicking) Edition(context.Context) (string, error)     { return "1", nil }
func (panicking) Scan(context.Context, Image) (Report, error) { panic("a bug in a reader") }

func TestAPanicOfAReaderIsAnError(t *testing.T) {
	image := imageOf(t, scantest.Blobs{}, "x")
	queued := newQueue(t, QueueOptions{}).Before(panicking{}, "s", "f")
	if _, err := queued.Report(context.Background(), "a", image.Manifest); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsRememberedIsBoundedAndTheNewestStays(t *testing.T) {
	blobs := scantest.Blobs{}
	s := &large{}
	queue := newQueue(t, QueueOptions{Memory: 10 << 10})
	queued := queue.Before(s, "large", "f")
	ask := func(i int) {
		t.Helper()
		if _, err := queued.Report(context.Background(), "a", imageOf(t, blobs, fmt.Sprint(i)).Manifest); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 8 { // each takes five kilobytes
		ask(i)
	}
	if queue.weight > 10<<10 || queue.known.Len() != 2 {
		t.Errorf("%d results of %d bytes are remembered", queue.known.Len(), queue.weight)
	}
	ask(7)
	if s.scans != 8 {
		t.Errorf("%d scans: the newest was forgotten", s.scans)
	}
	ask(0)
	if s.scans != 9 {
		t.Errorf("%d scans: the oldest was remembered", s.scans)
	}
	s.size = 1 << 20
	ask(9)
	ask(9)
	if s.scans != 10 || queue.known.Len() != 1 {
		t.Errorf("%d scans, %d results: one that is larger than all memory is not remembered alone", s.scans, queue.known.Len())
	}
}

// large makes bills of materials.
type large struct{ scans, size int }

func (*large) Edition(context.Context) (string, error) { return "1", nil }

func (l *large) Scan(context.Context, Image) (Report, error) {
	l.scans++
	return Report{SBOM: make([]byte, max(l.size, 4<<10))}, nil
}
