// Package worker consumes a pool's queue beside the servers of the pool: a message is acknowledged once the operator
// has recorded how its attempt ended. What only servers can do is given back to them, and costs the message nothing.
package worker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"sync"
	"time"

	"steno.dev/workers/internal/operator"
	"steno.dev/workers/internal/queue"
	"steno.dev/workers/internal/task"
)

const (
	waitForMessage           = 5 * time.Second
	firstPause, longestPause = 200 * time.Millisecond, 5 * time.Second
	// beatsPerLease: a message is kept although two attempts in a row to extend it failed.
	beatsPerLease = 3
	// declined messages are hidden for about so long: a server that waits takes them, and this worker others.
	declined = time.Second
	// remembered is how many messages are known as those of servers, without another try.
	remembered = 1000

	unproven = "The operator did not make this message, or changed its keys twice since."
)

// Config of a consumer.
type Config struct {
	Pool     *task.Pool
	Queue    *queue.Redis
	Operator *operator.Client
	Maker    *Maker
	// AtOnce is how many attempts are made at a time.
	AtOnce int
	// Drain is how long attempts may go on once the worker was asked to stop.
	Drain time.Duration
}

// Consumer takes messages and makes their attempts.
type Consumer struct {
	Config
	// receiving is held for reading while a message is being taken, for writing before one is given back in a drain:
	// else this consumer might receive it once more, and a message has so many deliveries.
	receiving sync.RWMutex

	mutex sync.Mutex
	left  map[string]bool
}

// Run consumes until ctx ends; then attempts that go on have Drain to end, and are given back after that.
func Run(ctx context.Context, config Config) {
	consumer := &Consumer{Config: config, left: map[string]bool{}}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	// The lease of a message, and its way back, outlive the work.
	var loops sync.WaitGroup
	for range config.AtOnce {
		loops.Go(func() { consumer.consume(ctx, work) })
	}
	timer := context.AfterFunc(ctx, func() { time.AfterFunc(config.Drain, stop) })
	defer timer()
	loops.Wait()
}

func (consumer *Consumer) consume(ctx, work context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		deliveries, err := consumer.receive(ctx)
		for _, delivery := range deliveries {
			if failure := consumer.handle(ctx, work, delivery); failure != nil {
				err = failure
			}
		}
		if err == nil {
			pause = firstPause
			continue
		}
		slog.Warn("the queue cannot be used", "why", err.Error())
		sleep(ctx, pause)
		pause = min(2*pause, longestPause)
	}
}

func (consumer *Consumer) receive(ctx context.Context) ([]*queue.Delivery, error) {
	consumer.receiving.RLock()
	defer consumer.receiving.RUnlock()
	if ctx.Err() != nil {
		return nil, nil
	}
	return consumer.Queue.Receive(ctx, 1, waitForMessage)
}

// handle does what is to be done of a message; an error is one of the queue.
func (consumer *Consumer) handle(ctx, work context.Context, delivery *queue.Delivery) error {
	safe := context.WithoutCancel(ctx)
	if ctx.Err() != nil {
		return consumer.giveBack(safe, delivery.Decline)
	}
	if consumer.isLeft(delivery.Message.ID) {
		return consumer.decline(safe, delivery)
	}
	asked, err := consumer.Pool.OCROf(delivery.Message)
	var refused *task.Refused
	if errors.As(err, &refused) {
		slog.Warn("a message is refused", "message_id", delivery.Message.ID, "why", refused.Why)
		return delivery.Reject(safe, refused.Why)
	}
	if err != nil {
		slog.Info("a message is left to the servers of the pool", "message_id", delivery.Message.ID, "why", err.Error())
		consumer.leave(delivery.Message.ID)
		return consumer.decline(safe, delivery)
	}
	beating, stop := context.WithCancel(safe)
	defer stop()
	go consumer.beat(beating, delivery)
	return consumer.attend(ctx, work, delivery, asked)
}

// attend asks whether an attempt is wanted, and makes it if the operator made the message.
func (consumer *Consumer) attend(ctx, work context.Context, delivery *queue.Delivery, asked *task.OCR) error {
	safe := context.WithoutCancel(ctx)
	about := slog.With("job", asked.Job.Namespace+"/"+asked.Job.Name, "attempt", asked.Attempt)
	report := operator.Report{
		Pool: consumer.Pool.Pool, Job: asked.Job, Kind: asked.Kind, Attempt: asked.Attempt, Process: process(),
	}
	answer := consumer.send(ctx, report, func(*operator.Answer) bool { return true })
	if answer == nil {
		return consumer.giveBack(safe, delivery.Decline)
	}
	if answer.Recorded || !answer.Wanted {
		about.Info("an attempt is not wanted any more")
		return delivery.Ack(safe)
	}
	keys, err := operator.ParseKeys(answer.Keys)
	if err != nil || (len(keys) > 0 && !delivery.Message.IsProven(keys)) {
		about.Warn("a message that the operator did not make is refused")
		return delivery.Reject(safe, unproven)
	}
	about.Info("attempt", "receives", delivery.Receives)
	at := &progress{}
	result, wanted, err := consumer.work(work, report, asked, at)
	_, used := at.get()
	if err != nil {
		report.Ended = &operator.Ended{Used: used}
		if _, lost := consumer.Operator.Send(safe, &report); lost != nil {
			about.Warn("a report was lost", "why", lost.Error())
		}
		switch {
		case !wanted:
			return delivery.Ack(safe)
		case work.Err() != nil:
			return consumer.giveBack(safe, delivery.Release)
		}
		about.Warn("an attempt is left to the servers of the pool", "why", err.Error())
		consumer.leave(delivery.Message.ID)
		return consumer.decline(safe, delivery)
	}
	report.Ended = &operator.Ended{Result: result, Used: used}
	enough := func(answer *operator.Answer) bool { return answer.Recorded || !answer.Wanted }
	recorded := consumer.send(work, report, enough) != nil
	about.Info("done", "recorded", recorded, "result", outcome(result))
	if !recorded {
		return consumer.giveBack(safe, delivery.Release)
	}
	return delivery.Ack(safe)
}

// work makes an attempt and reports its progress meanwhile; false: it is not wanted any more, and was stopped.
func (consumer *Consumer) work(
	ctx context.Context, report operator.Report, asked *task.OCR, at *progress,
) (any, bool, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	type end struct {
		result any
		err    error
	}
	done, wanted := make(chan end, 1), true
	go func() {
		result, err := consumer.Maker.make(ctx, asked, at)
		done <- end{result, err}
	}()
	interval := time.Duration(consumer.Pool.Reporting.IntervalSeconds * float64(time.Second))
	ticker := time.NewTicker(max(interval, 10*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case ended := <-done:
			return ended.result, wanted, ended.err
		case <-ticker.C:
		}
		report.Progress, _ = at.get()
		if report.Progress == nil {
			report.Progress = &operator.Progress{Stage: "Starting"}
		}
		if answer, err := consumer.Operator.Send(ctx, &report); err == nil && !answer.Wanted {
			wanted = false
			stop()
		}
	}
}

// send sends a report until an answer is enough; nil: ctx ended first. One try is made in any case.
func (consumer *Consumer) send(
	ctx context.Context, report operator.Report, enough func(*operator.Answer) bool,
) *operator.Answer {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		answer, err := consumer.Operator.Send(context.WithoutCancel(ctx), &report)
		if err == nil && enough(answer) {
			return answer
		}
		if err != nil {
			slog.Warn("a report was lost", "why", err.Error())
		}
		if ctx.Err() != nil {
			return nil
		}
		sleep(ctx, pause)
	}
}

// beat keeps a message while it is worked on.
func (consumer *Consumer) beat(ctx context.Context, delivery *queue.Delivery) {
	ticker := time.NewTicker(consumer.Pool.Queue.Settings.Visibility() / beatsPerLease)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		kept, err := delivery.Extend(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			slog.Warn("a message could not be extended", "why", err.Error())
		} else if !kept {
			// Another worker has it too. The first to publish is right, and both report the same.
			slog.Warn("a message's lease has ended", "message_id", delivery.Message.ID)
			return
		}
	}
}

// giveBack gives a message back in a drain: by Release, or by Decline if nothing was begun.
func (consumer *Consumer) giveBack(ctx context.Context, by func(context.Context, time.Duration) error) error {
	consumer.receiving.Lock()
	defer consumer.receiving.Unlock()
	return by(ctx, 0)
}

// decline gives a message to the servers of the pool; at a time of its own, as others may decline, too.
func (consumer *Consumer) decline(ctx context.Context, delivery *queue.Delivery) error {
	return delivery.Decline(ctx, declined/2+mathrand.N(declined))
}

func (consumer *Consumer) isLeft(id string) bool {
	consumer.mutex.Lock()
	defer consumer.mutex.Unlock()
	return consumer.left[id]
}

func (consumer *Consumer) leave(id string) {
	consumer.mutex.Lock()
	defer consumer.mutex.Unlock()
	if len(consumer.left) >= remembered {
		clear(consumer.left) // they are tried once more
	}
	consumer.left[id] = true
}

func outcome(result any) string {
	if failure, is := result.(failed); is {
		return failure.Reason
	}
	return "Succeeded"
}

// process names this delivery: when it began, and where, so that later ones sort after earlier ones.
func process() string {
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	random := make([]byte, 4)
	_, _ = rand.Read(random) // never fails
	begun := time.Now().UTC().Format("20060102T150405.000000")
	return fmt.Sprintf("%s-%s-%s", begun, host[:min(len(host), 40)], hex.EncodeToString(random))
}

func sleep(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}
