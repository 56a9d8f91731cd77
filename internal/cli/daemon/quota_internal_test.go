package daemon

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestQuota(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var stopped atomic.Int32
		q := newQuota(Quota{Jobs: 3, Wait: time.Minute}, func(string) { stopped.Add(1) })
		q.start()
		defer q.close()
		time.Sleep(50 * time.Second)
		q.began() // adopted: it holds the waiting up and does not count
		time.Sleep(time.Hour)
		q.ended(false)
		for range 2 {
			q.began()
			time.Sleep(time.Hour)
			q.ended(true)
			time.Sleep(59 * time.Second)
		}
		if stopped.Load() != 0 {
			t.Fatal("stopped too early")
		}
		q.began()
		q.ended(true)
		if n := stopped.Load(); n != 1 {
			t.Fatalf("stopped %d times after the last job", n)
		}
	})
}

func TestQuotaOfWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var stopped atomic.Int32
		q := newQuota(Quota{Wait: time.Minute}, func(string) { stopped.Add(1) })
		q.start()
		defer q.close()
		time.Sleep(59 * time.Second)
		q.began()
		q.ended(true)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if stopped.Load() != 0 {
			t.Fatal("stopped too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if stopped.Load() != 1 {
			t.Fatal("not stopped")
		}
	})
}
