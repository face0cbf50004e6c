import subprocess,sys,time,signal,os,asyncio
PY="/tmp/dev/v/bin/python"
res={}
for i in range(30):
    if os.path.exists("s.ledger.ndjson"): os.remove("s.ledger.ndjson")
    open("s.csv","w").write("customerKey\n"+"\n".join(f"k{j}" for j in range(3000)))
    p=subprocess.Popen([PY,"-m","bulk_eraser","run","s.csv","--base-url",sys.argv[1],"--yes","--json","--rate","0","--quiet"],stdout=subprocess.PIPE,stderr=subprocess.PIPE)
    while not os.path.exists("s.ledger.ndjson") or os.path.getsize("s.ledger.ndjson")<60000: time.sleep(.002)
    sig=[signal.SIGINT,signal.SIGTERM][i%2]
    while p.poll() is None:
        p.send_signal(sig); time.sleep(.001)
    o,e=p.communicate()
    k=(p.returncode,o.count(b'"outcome"'),b"Traceback" in e or b"Exception" in e)
    res[k]=res.get(k,0)+1
    if k[1]!=1 or k[2]: print(k,o[-200:],e[-600:])
print(res)
