// Package proof is the test that the answers of several replicas form one history, as if there
// were a single register for each session. Replicas are processes, the store is a real server,
// and what happens to both is drawn by a seed; package porcupine checks what they answered.
//
//	make proof SCHEDULES=1000
//
// runs a thousand schedules of faults and says what they were and what was found;
//
//	go test ./affinity/shared/proof -run History/deny -seed N -schedules 1 -v
//
// repeats one, as far as the machine does.
package proof
