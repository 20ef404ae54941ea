package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	root = "../../../.."
	lua  = root + "/queues/src/steno_queue/lua"
	soon = 20 * time.Second
)

// address is that of the tests' Redis.
var address string

func TestMain(m *testing.M) {
	os.Exit(withRedis(m.Run))
}

// withRedis runs Redis without persistence, as the tests in Python do.
func withRedis(run func() int) int {
	find := exec.Command("python3", "-m", "hack.tools", "path", "redis-server")
	find.Dir = root
	found, err := find.Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "there is no redis-server:", err)
		return 1
	}
	words := strings.Fields(string(found))
	port := freePort()
	address = net.JoinHostPort("127.0.0.1", port)
	server := exec.Command(words[len(words)-1], "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no")
	server.Dir = os.TempDir()
	if err := server.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	for until := time.Now().Add(soon); time.Now().Before(until); {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return run()
		}
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Fprintln(os.Stderr, "Redis did not start")
	return 1
}

func freePort() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// fresh returns the settings of a queue that no test has used.
func fresh(t *testing.T) Settings {
	t.Helper()
	settings := DefaultSettings()
	settings.Kind, settings.URL, settings.Name = redisKind, "redis://"+address, "team/"+t.Name()
	settings.VisibilitySeconds = 30
	return settings
}

func open(t *testing.T, settings Settings) *Redis {
	t.Helper()
	opened, err := Open(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close(context.Background()) })
	return opened
}

func body(uid string) string {
	data, _ := json.Marshal(map[string]any{
		"specversion": "1.0", "id": uid + "/1", "source": "/steno/team/ocr", "type": "dev.steno.attempt.v1",
		"subject": "team/" + uid, "time": "2026-11-26T10:00:00Z", "tenant": "acme",
		"data": map[string]any{"kind": "OCRTask", "documentID": "계약서"},
	})
	return string(data)
}

// publish publishes a message with the script that the operator has; priority is 1 (high) to 3.
func publish(t *testing.T, to *Redis, priority int, uid string) bool {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(lua, "publish.lua"))
	if err != nil {
		t.Fatal(err)
	}
	keys := append(append([]string{}, to.streams...), to.ids+uid+"/1")
	args := []any{priority, uid + "/1", body(uid), 1000}
	isNew, err := redis.NewScript(string(source)).Run(t.Context(), to.client, keys, args...).Int()
	if err != nil {
		t.Fatal(err)
	}
	return isNew == 1
}

func receive(t *testing.T, from *Redis, limit int) []*Delivery {
	t.Helper()
	found, err := from.Receive(t.Context(), limit, soon)
	if err != nil || len(found) == 0 {
		t.Fatal("nothing came", err)
	}
	return found
}

func none(t *testing.T, from *Redis) {
	t.Helper()
	if found, err := from.Receive(t.Context(), 10, 0); err != nil || len(found) > 0 {
		t.Error(found, err)
	}
}

func ids(deliveries []*Delivery) string {
	var found []string
	for _, each := range deliveries {
		found = append(found, fmt.Sprintf("%s×%d", each.Message.ID, each.Receives))
	}
	return strings.Join(found, " ")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func letters(t *testing.T, of *Redis) []map[string]any {
	t.Helper()
	entries, err := of.client.XRange(t.Context(), of.dead, "-", "+").Result()
	must(t, err)
	var found []map[string]any
	for _, entry := range entries {
		found = append(found, entry.Values)
	}
	return found
}

func TestTheScriptsAreThoseOfPython(t *testing.T) {
	for _, name := range []string{"finish.lua", "keep.lua", "take.lua"} {
		ours, err := files.ReadFile("lua/" + name)
		must(t, err)
		theirs, err := os.ReadFile(filepath.Join(lua, name))
		must(t, err)
		if !bytes.Equal(ours, theirs) {
			t.Errorf("%s differs: copy it from queues/src/steno_queue/lua", name)
		}
	}
}

func TestAMessageIsDeliveredOnceAndGoneWhenItIsAcknowledged(t *testing.T) {
	settings := fresh(t)
	queue, other := open(t, settings), open(t, settings)
	none(t, queue)
	if !publish(t, queue, 2, "a") || publish(t, queue, 2, "a") {
		t.Error("an id is not published once")
	}
	first := receive(t, queue, 10)
	if ids(first) != "a/1×1" || string(first[0].Message.Data) != `{"documentID":"계약서","kind":"OCRTask"}` {
		t.Error(ids(first), string(first[0].Message.Data))
	}
	none(t, other)
	must(t, first[0].Ack(t.Context()))
	must(t, first[0].Ack(t.Context()))
	none(t, queue)
	if publish(t, queue, 2, "a") {
		t.Error("the id of a message that is done was forgotten")
	}
}

func TestPrioritiesAndOrder(t *testing.T) {
	queue := open(t, fresh(t))
	for _, each := range []struct {
		uid      string
		priority int
	}{{"a", 2}, {"b", 3}, {"c", 1}, {"d", 2}, {"e", 1}} {
		publish(t, queue, each.priority, each.uid)
	}
	if got := ids(receive(t, queue, 3)); got != "c/1×1 e/1×1 a/1×1" {
		t.Error(got)
	}
	if got := ids(receive(t, queue, 10)); got != "d/1×1 b/1×1" {
		t.Error(got)
	}
}

func TestALostConsumersMessageIsDeliveredToAnother(t *testing.T) {
	settings := fresh(t)
	settings.VisibilitySeconds = 0.25
	lost, other := open(t, settings), open(t, settings)
	publish(t, lost, 2, "a")
	late := receive(t, lost, 1)[0]
	again := receive(t, other, 1)[0]
	if again.Receives != 2 {
		t.Error(again.Receives)
	}
	if kept, err := late.Extend(t.Context()); kept || err != nil {
		t.Error("a lease that has ended was extended", err)
	}
	must(t, late.Release(t.Context(), 0)) // of no effect
	if kept, err := again.Extend(t.Context()); !kept || err != nil {
		t.Error("the other's lease has ended, too", err)
	}
	must(t, late.Ack(t.Context()))
	none(t, other)
}

func TestWhatIsGivenBackComesAgainAndWhatIsDeclinedDoesNotCount(t *testing.T) {
	settings := fresh(t)
	settings.MaxReceives = 2
	queue, other := open(t, settings), open(t, settings)
	publish(t, queue, 2, "a")
	for range 5 {
		must(t, receive(t, queue, 1)[0].Decline(t.Context(), 0))
	}
	must(t, receive(t, queue, 1)[0].Release(t.Context(), 0))
	second := receive(t, other, 1)[0]
	if second.Receives != 2 {
		t.Error(second.Receives)
	}
	must(t, second.Release(t.Context(), 0))
	none(t, queue)
	found := letters(t, queue)
	if len(found) != 1 || found[0]["message"] != body("a") || found[0]["receives"] != "3" ||
		!strings.Contains(found[0]["reason"].(string), "none of them finished it") {
		t.Error(found)
	}
}

func TestADelayIsKept(t *testing.T) {
	queue := open(t, fresh(t))
	publish(t, queue, 2, "a")
	released := time.Now()
	must(t, receive(t, queue, 1)[0].Decline(t.Context(), time.Second))
	again := receive(t, queue, 1)[0]
	if waited := time.Since(released); waited < 900*time.Millisecond || again.Receives != 1 {
		t.Error(waited, again.Receives)
	}
}

func TestDeadLetters(t *testing.T) {
	queue := open(t, fresh(t))
	none(t, queue)
	must(t, queue.client.XAdd(t.Context(), &redis.XAddArgs{
		Stream: queue.streams[1], Values: map[string]any{"message": "no JSON"},
	}).Err())
	publish(t, queue, 2, "a")
	must(t, receive(t, queue, 10)[0].Reject(t.Context(), "이유: it cannot be"))
	none(t, queue)
	found := letters(t, queue)
	if len(found) != 2 || found[0]["reason"] != "It is not a message of Steno: the whole." ||
		found[1]["reason"] != "이유: it cannot be" || found[1]["receives"] != "1" {
		t.Error(found)
	}
}

func TestOneThatWaitsIsGivenWhatIsPublishedMeanwhileAndNoMoreWhenItStops(t *testing.T) {
	settings := fresh(t)
	queue, publisher := open(t, settings), open(t, settings)
	none(t, queue)
	came := make(chan []*Delivery)
	go func() {
		found, _ := queue.Receive(t.Context(), 1, soon)
		came <- found
	}()
	publish(t, publisher, 3, "a")
	if got := ids(<-came); got != "a/1×1" {
		t.Error(got)
	}
	stopping, stop := context.WithCancel(t.Context())
	begun := time.Now()
	time.AfterFunc(50*time.Millisecond, stop)
	found, err := queue.Receive(stopping, 1, soon)
	if err != nil || len(found) > 0 || time.Since(begun) > soon/2 {
		t.Error(found, err, time.Since(begun))
	}
}

func TestAQueueThatLostItsData(t *testing.T) {
	queue := open(t, fresh(t))
	publish(t, queue, 2, "a")
	held := receive(t, queue, 1)[0]
	must(t, queue.client.Del(t.Context(), queue.streams...).Err())
	if kept, err := held.Extend(t.Context()); kept || err != nil {
		t.Error(kept, err)
	}
	publish(t, queue, 2, "a")
	if got := ids(receive(t, queue, 1)); got != "a/1×1" {
		t.Error(got)
	}
}

func TestAConsumerThatClosesLeavesTheGroupButNotWithMessages(t *testing.T) {
	settings := fresh(t)
	idle, busy, admin := open(t, settings), open(t, settings), open(t, settings)
	publish(t, admin, 2, "a")
	receive(t, busy, 1)
	none(t, idle)
	must(t, idle.Close(t.Context()))
	must(t, busy.Close(t.Context()))
	found, err := admin.client.XInfoConsumers(t.Context(), admin.streams[1], group).Result()
	must(t, err)
	if len(found) != 1 || found[0].Name != busy.consumer {
		t.Error(found)
	}
}

func TestCredentialsAreFilesAndTheDocumentedRightsAreEnough(t *testing.T) {
	admin := open(t, fresh(t))
	manual, err := os.ReadFile(root + "/docs/operations.md")
	must(t, err)
	_, rule, _ := strings.Cut(string(manual), "\nACL SETUSER steno ")
	rule, _, _ = strings.Cut(rule, "\n")
	command := []any{"ACL", "SETUSER", t.Name()}
	for _, word := range strings.Fields(strings.Replace(rule, "PASSWORD", "right", 1)) {
		command = append(command, word)
	}
	must(t, admin.client.Do(t.Context(), command...).Err())
	folder := t.TempDir()
	must(t, os.WriteFile(filepath.Join(folder, "username"), []byte(t.Name()+"\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(folder, "password"), []byte("wrong"), 0o600))
	settings := fresh(t)
	settings.CredentialsDir = folder
	queue := open(t, settings)
	if _, err := queue.Receive(t.Context(), 1, 0); err == nil || !strings.Contains(err.Error(), "refuses the credentials") {
		t.Error(err)
	}
	must(t, os.WriteFile(filepath.Join(folder, "password"), []byte("right\n"), 0o600))
	none(t, queue)
	publish(t, admin, 2, "a")
	delivery := receive(t, queue, 1)[0]
	_, err = delivery.Extend(t.Context())
	must(t, errors.Join(err, delivery.Decline(t.Context(), 0)))
	must(t, receive(t, queue, 1)[0].Reject(t.Context(), "why"))
}

func TestAServerThatIsAway(t *testing.T) {
	settings := fresh(t)
	settings.URL = "redis://127.0.0.1:" + freePort()
	if _, err := open(t, settings).Receive(t.Context(), 1, 0); err == nil ||
		!strings.HasPrefix(err.Error(), "Redis cannot be used now") {
		t.Error(err)
	}
}

func TestSettingsThatCannotBe(t *testing.T) {
	for name, change := range map[string]func(*Settings){
		"takes messages from RedisStreams":   func(settings *Settings) { settings.Kind = "SQS" },
		"begins with rediss://host":          func(settings *Settings) { settings.URL = "http://host" },
		"may hold neither credentials":       func(settings *Settings) { settings.URL = "rediss://user:word@host" },
		"use rediss:// for a queue":          func(settings *Settings) { settings.URL = "redis://queue.example" },
		"the path of a RedisStreams queue's": func(settings *Settings) { settings.URL = "redis://127.0.0.1/x" },
		"times and counts must be positive":  func(settings *Settings) { settings.MaxReceives = 0 },
		"no such file":                       func(settings *Settings) { settings.URL, settings.CAFile = "rediss://a", "missing" },
	} {
		settings := fresh(t)
		change(&settings)
		if _, err := Open(settings); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "word@") {
			t.Error(name, err)
		}
	}
}
