// Command pause holds a pod sandbox: it waits for SIGINT or SIGTERM and reaps orphans.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	c := make(chan os.Signal, 16)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for s := range c {
		if s != syscall.SIGCHLD {
			return
		}
		for {
			p, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if p <= 0 || err != nil {
				break
			}
		}
	}
}
