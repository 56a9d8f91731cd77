package daemon

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestQuota(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var stopped []time.Duration
		begin := time.Now()
		q := newQuota(Quota{Jobs: 3, Wait: time.Minute}, func(string) { stopped = append(stopped, time.Since(begin)) })
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
		if len(stopped) > 0 {
			t.Fatalf("stopped after %s", stopped)
		}
		q.began()
		q.ended(true)
		if len(stopped) != 1 {
			t.Fatalf("stopped %d times after the last job", len(stopped))
		}
	})
}

func TestQuotaOfWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stopped := 0
		q := newQuota(Quota{Wait: time.Minute}, func(string) { stopped++ })
		q.start()
		defer q.close()
		time.Sleep(59 * time.Second)
		q.began()
		q.ended(true)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if stopped != 0 {
			t.Fatal("stopped too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if stopped != 1 {
			t.Fatal("not stopped")
		}
	})
}
