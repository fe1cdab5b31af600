BEGIN TRANSACTION;
CREATE TABLE podium_entries (
	run TEXT NOT NULL, 
	place INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	form SMALLINT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (run, place)
);
INSERT INTO "podium_entries" VALUES('b06b51ff10a3',0,'head',1,'{"run":"b06b51ff10a3","team":"desk","messages":[{"role":"user","content":"how much?"}],"started":1795314656.3518353,"seed":3,"reply_seed":3,"digest":"f4d4b1f4478c6a2aa3964541c432a5e9d9a21a050910258919216acfbb53323f"}');
INSERT INTO "podium_entries" VALUES('b06b51ff10a3',1,'node',1,'{"id":0,"parents":[],"kind":"task","author":"user","content":"how much?"}');
INSERT INTO "podium_entries" VALUES('b06b51ff10a3',2,'decision',1,'{"id":"b06b51ff10a3.0","step":0,"action":[{"id":"b06b51ff10a3.0.0","agent":"ann"}],"policy":"sequential","reasons":{}}');
INSERT INTO "podium_entries" VALUES('b06b51ff10a3',3,'completed',1,'{"directive":"b06b51ff10a3.0.0","call":{"id":"b06b51ff10a3.0.0.0","target":"ann","result":{"text":"a plan\nwith ä in it","usage":{"input_tokens":166,"output_tokens":5,"calls":1,"dollars":0.000176},"sampling":{"temperature":1.0,"max_tokens":512,"seed":649204814}}}}');
INSERT INTO "podium_entries" VALUES('b06b51ff10a3',4,'node',1,'{"id":1,"parents":[0],"kind":"reply","author":"ann","content":"a plan\nwith ä in it","answer":"a plan\nwith ä in it","calls":[{"id":"b06b51ff10a3.0.0.0","target":"ann","result":{"text":"a plan\nwith ä in it","usage":{"input_tokens":166,"output_tokens":5,"calls":1,"dollars":0.000176},"sampling":{"temperature":1.0,"max_tokens":512,"seed":649204814}}}],"usage":{"input_tokens":166,"output_tokens":5,"calls":1,"dollars":0.000176},"clock":0.009638086999984807,"directive":"b06b51ff10a3.0.0"}');
INSERT INTO "podium_entries" VALUES('b06b51ff10a3',5,'decision',1,'{"id":"b06b51ff10a3.1","step":1,"action":[{"id":"b06b51ff10a3.1.0","agent":"bob","answer":true}],"policy":"sequential","reasons":{}}');
INSERT INTO "podium_entries" VALUES('b06b51ff10a3',6,'node',1,'{"id":2,"parents":[1],"kind":"reply","author":"bob","content":"it is 42","answer":"it is 42","calls":[{"id":"b06b51ff10a3.1.0.0","target":"bob","result":{"text":"it is 42","usage":{"input_tokens":47,"output_tokens":3,"calls":1,"dollars":0.000053},"sampling":{"temperature":1.0,"max_tokens":512,"seed":450713490}}}],"usage":{"input_tokens":47,"output_tokens":3,"calls":1,"dollars":0.000053},"clock":0.013163872999939485,"directive":"b06b51ff10a3.1.0"}');
INSERT INTO "podium_entries" VALUES('b06b51ff10a3',7,'end',1,'{"stop":"answered","node":2,"usage":{"input_tokens":213,"output_tokens":8,"calls":2,"dollars":0.00022899999999999998,"seconds":0.0},"seconds":0.013198384000133956}');
INSERT INTO "podium_entries" VALUES('4d108330d4ee',0,'head',1,'{"run":"4d108330d4ee","team":"desk","messages":[{"role":"user","content":"how much?"}],"started":1795314656.3972082,"seed":3,"reply_seed":3,"digest":"79298666a75ea8dcfba94fcc370c82428eee374e33ba45931ee855e4211dd678"}');
INSERT INTO "podium_entries" VALUES('4d108330d4ee',1,'node',1,'{"id":0,"parents":[],"kind":"task","author":"user","content":"how much?"}');
INSERT INTO "podium_entries" VALUES('4d108330d4ee',2,'decision',1,'{"id":"4d108330d4ee.0","step":0,"action":[{"id":"4d108330d4ee.0.0","agent":"ann","visible":{"kind":"none"},"compute":{"samples":3,"reduce":"vote"}},{"id":"4d108330d4ee.0.1","agent":"bob","visible":{"kind":"none"},"compute":{"samples":3,"reduce":"vote"}}],"policy":"vote","reasons":{}}');
INSERT INTO "podium_entries" VALUES('4d108330d4ee',3,'completed',1,'{"directive":"4d108330d4ee.0.0","call":{"id":"4d108330d4ee.0.0.0","target":"ann","result":{"text":"a plan\nwith ä in it","usage":{"input_tokens":166,"output_tokens":5,"calls":1,"dollars":0.000176},"sampling":{"temperature":1.0,"max_tokens":512,"seed":649204814}}}}');
INSERT INTO "podium_entries" VALUES('4d108330d4ee',4,'completed',1,'{"directive":"4d108330d4ee.0.0","call":{"id":"4d108330d4ee.0.0.1.0","target":"ann","result":{"text":"half of it","usage":{"input_tokens":166,"output_tokens":3,"calls":1,"dollars":0.00017199999999999998},"sampling":{"temperature":1.0,"max_tokens":512,"seed":682901037}}},"sample":1}');
INSERT INTO "podium_entries" VALUES('4d108330d4ee',5,'completed',1,'{"directive":"4d108330d4ee.0.0","call":{"id":"4d108330d4ee.0.0.2.0","target":"ann","result":{"text":"42","usage":{"input_tokens":166,"output_tokens":1,"calls":1,"dollars":0.000168},"sampling":{"temperature":1.0,"max_tokens":87,"seed":226525479}}},"sample":2}');
INSERT INTO "podium_entries" VALUES('4d108330d4ee',6,'node',1,'{"id":1,"parents":[0],"kind":"candidate","author":"ann","content":"a plan\nwith ä in it","answer":"a plan\nwith ä in it","calls":[{"id":"4d108330d4ee.0.0.0","target":"ann","result":{"text":"a plan\nwith ä in it","usage":{"input_tokens":166,"output_tokens":5,"calls":1,"dollars":0.000176},"sampling":{"temperature":1.0,"max_tokens":512,"seed":649204814}}}],"usage":{"input_tokens":166,"output_tokens":5,"calls":1,"dollars":0.000176},"clock":0.014982375000727188,"directive":"4d108330d4ee.0.0"}');
INSERT INTO "podium_entries" VALUES('4d108330d4ee',7,'node',1,'{"id":2,"parents":[0],"kind":"candidate","author":"ann","content":"half of it","answer":"half of it","calls":[{"id":"4d108330d4ee.0.0.1.0","target":"ann","result":{"text":"half of it","usage":{"input_tokens":166,"output_tokens":3,"calls":1,"dollars":0.00017199999999999998},"sampling":{"temperature":1.0,"max_tokens":512,"seed":682901037}}}],"usage":{"input_tokens":166,"output_tokens":3,"calls":1,"dollars":0.00017199999999999998},"clock":0.01499453300039022,"directive":"4d108330d4ee.0.0"}');
INSERT INTO "podium_entries" VALUES('4d108330d4ee',8,'node',1,'{"id":3,"parents":[0],"kind":"candidate","author":"ann","content":"42","answer":"42","calls":[{"id":"4d108330d4ee.0.0.2.0","target":"ann","result":{"text":"42","usage":{"input_tokens":166,"output_tokens":1,"calls":1,"dollars":0.000168},"sampling":{"temperature":1.0,"max_tokens":87,"seed":226525479}}}],"usage":{"input_tokens":166,"output_tokens":1,"calls":1,"dollars":0.000168},"clock":0.01499640600013663,"directive":"4d108330d4ee.0.0"}');
INSERT INTO "podium_entries" VALUES('4d108330d4ee',9,'node',1,'{"id":4,"parents":[1,2,3],"kind":"reply","author":"ann","content":"a plan\nwith ä in it","answer":"a plan\nwith ä in it","clock":0.015012450000540412,"directive":"4d108330d4ee.0.0"}');
INSERT INTO "podium_entries" VALUES('4d108330d4ee',10,'decision',1,'{"id":"4d108330d4ee.1","step":1,"action":{"answer":1},"policy":"vote","reasons":{"agree":1,"ballots":3}}');
INSERT INTO "podium_entries" VALUES('4d108330d4ee',11,'end',1,'{"stop":"answered","node":1,"usage":{"input_tokens":498,"output_tokens":9,"calls":3,"dollars":0.000516,"seconds":0.0},"seconds":0.015084156000739313,"refused":1}');
INSERT INTO "podium_entries" VALUES('87a641c2eff9',0,'head',1,'{"run":"87a641c2eff9","team":"desk","messages":[{"role":"user","content":"how much?"}],"started":1795314656.4255729,"seed":3,"reply_seed":3,"digest":"f4bc07f2b88075ceffdebd00f1a0643d41a201f2e20aa37f73b35e6f2a083827"}');
INSERT INTO "podium_entries" VALUES('87a641c2eff9',1,'node',1,'{"id":0,"parents":[],"kind":"task","author":"user","content":"how much?"}');
INSERT INTO "podium_entries" VALUES('87a641c2eff9',2,'decision',1,'{"id":"87a641c2eff9.0","step":0,"action":[{"id":"87a641c2eff9.0.0","agent":"ann","visible":{"kind":"none"}},{"id":"87a641c2eff9.0.1","agent":"bob","visible":{"kind":"none"}}],"policy":"debate","reasons":{}}');
INSERT INTO "podium_entries" VALUES('87a641c2eff9',3,'completed',1,'{"directive":"87a641c2eff9.0.0","call":{"id":"87a641c2eff9.0.0.0","target":"ann","result":{"text":"a plan\nwith ä in it","usage":{"input_tokens":166,"output_tokens":5,"calls":1,"dollars":0.000176},"sampling":{"temperature":1.0,"max_tokens":512,"seed":649204814}}}}');
INSERT INTO "podium_entries" VALUES('87a641c2eff9',4,'completed',1,'{"directive":"87a641c2eff9.0.1","call":{"id":"87a641c2eff9.0.1.0","target":"bob","result":{"text":"it is 42","usage":{"input_tokens":41,"output_tokens":3,"calls":1,"dollars":0.000047},"sampling":{"temperature":1.0,"max_tokens":512,"seed":450713490}}}}');
INSERT INTO "podium_entries" VALUES('87a641c2eff9',5,'node',1,'{"id":1,"parents":[0],"kind":"reply","author":"ann","content":"a plan\nwith ä in it","answer":"a plan\nwith ä in it","calls":[{"id":"87a641c2eff9.0.0.0","target":"ann","result":{"text":"a plan\nwith ä in it","usage":{"input_tokens":166,"output_tokens":5,"calls":1,"dollars":0.000176},"sampling":{"temperature":1.0,"max_tokens":512,"seed":649204814}}}],"usage":{"input_tokens":166,"output_tokens":5,"calls":1,"dollars":0.000176},"clock":0.011875062999934016,"directive":"87a641c2eff9.0.0"}');
INSERT INTO "podium_entries" VALUES('87a641c2eff9',6,'node',1,'{"id":2,"parents":[0],"kind":"reply","author":"bob","content":"it is 42","answer":"it is 42","calls":[{"id":"87a641c2eff9.0.1.0","target":"bob","result":{"text":"it is 42","usage":{"input_tokens":41,"output_tokens":3,"calls":1,"dollars":0.000047},"sampling":{"temperature":1.0,"max_tokens":512,"seed":450713490}}}],"usage":{"input_tokens":41,"output_tokens":3,"calls":1,"dollars":0.000047},"clock":0.011907110999345605,"directive":"87a641c2eff9.0.1"}');
INSERT INTO "podium_entries" VALUES('87a641c2eff9',7,'decision',1,'{"id":"87a641c2eff9.1","step":1,"action":[{"id":"87a641c2eff9.1.0","agent":"ann","objective":"refine"},{"id":"87a641c2eff9.1.1","agent":"bob","objective":"refine"}],"policy":"debate","reasons":{}}');
INSERT INTO "podium_entries" VALUES('87a641c2eff9',8,'completed',1,'{"directive":"87a641c2eff9.1.0","call":{"id":"87a641c2eff9.1.0.0","target":"ann","result":{"text":"half of it","usage":{"input_tokens":176,"output_tokens":3,"calls":1,"dollars":0.00018199999999999998},"sampling":{"temperature":1.0,"max_tokens":512,"seed":570557237}}}}');
INSERT INTO "podium_entries" VALUES('87a641c2eff9',9,'completed',1,'{"directive":"87a641c2eff9.1.1","call":{"id":"87a641c2eff9.1.1.0","target":"bob","result":{"text":"surely 42","usage":{"input_tokens":51,"output_tokens":3,"calls":1,"dollars":0.000056999999999999996},"sampling":{"temperature":1.0,"max_tokens":512,"seed":1131090454}}}}');
INSERT INTO "podium_entries" VALUES('87a641c2eff9',10,'node',1,'{"id":3,"parents":[2],"kind":"reply","author":"ann","content":"half of it","answer":"half of it","calls":[{"id":"87a641c2eff9.1.0.0","target":"ann","result":{"text":"half of it","usage":{"input_tokens":176,"output_tokens":3,"calls":1,"dollars":0.00018199999999999998},"sampling":{"temperature":1.0,"max_tokens":512,"seed":570557237}}}],"usage":{"input_tokens":176,"output_tokens":3,"calls":1,"dollars":0.00018199999999999998},"clock":0.013172706999284856,"directive":"87a641c2eff9.1.0"}');
INSERT INTO "podium_entries" VALUES('87a641c2eff9',11,'node',1,'{"id":4,"parents":[2],"kind":"reply","author":"bob","content":"surely 42","answer":"surely 42","calls":[{"id":"87a641c2eff9.1.1.0","target":"bob","result":{"text":"surely 42","usage":{"input_tokens":51,"output_tokens":3,"calls":1,"dollars":0.000056999999999999996},"sampling":{"temperature":1.0,"max_tokens":512,"seed":1131090454}}}],"usage":{"input_tokens":51,"output_tokens":3,"calls":1,"dollars":0.000056999999999999996},"clock":0.013182951999624493,"directive":"87a641c2eff9.1.1"}');
INSERT INTO "podium_entries" VALUES('87a641c2eff9',12,'decision',1,'{"id":"87a641c2eff9.2","step":2,"action":{"answer":3},"policy":"debate","reasons":{"agree":1,"ballots":2}}');
INSERT INTO "podium_entries" VALUES('87a641c2eff9',13,'end',1,'{"stop":"answered","node":3,"usage":{"input_tokens":434,"output_tokens":14,"calls":4,"dollars":0.00046199999999999995,"seconds":0.0},"seconds":0.013249109999378561}');
INSERT INTO "podium_entries" VALUES('2b2ecaa87214',0,'head',1,'{"run":"2b2ecaa87214","team":"desk","messages":[{"role":"user","content":"how much?"}],"started":1795314656.4651306,"seed":3,"reply_seed":3,"digest":"4649fe0325db434cefa1e1650a4eb0f0bf92028132b3a51fbca23af15e120e50"}');
INSERT INTO "podium_entries" VALUES('2b2ecaa87214',1,'node',1,'{"id":0,"parents":[],"kind":"task","author":"user","content":"how much?"}');
INSERT INTO "podium_entries" VALUES('2b2ecaa87214',2,'decision',1,'{"id":"2b2ecaa87214.0","step":0,"action":[{"id":"2b2ecaa87214.0.0","agent":"bob","compute":{"samples":3,"reduce":"vote"}}],"policy":"random","mode":"sample","factors":[{"head":"pick","choice":1,"log_prob":-0.6931471805599453,"mask":[true,true,false]},{"head":"samples","choice":1,"log_prob":-1.0986122886681098,"mask":[true,true,true]}],"log_prob":-1.791759469228055,"reasons":{},"seen":1,"budget_left":[1.0,1.0,0.9999997001233351,1.0]}');
INSERT INTO "podium_entries" VALUES('2b2ecaa87214',3,'completed',1,'{"directive":"2b2ecaa87214.0.0","call":{"id":"2b2ecaa87214.0.0.0","target":"bob","result":{"text":"it is 42","usage":{"input_tokens":41,"output_tokens":3,"calls":1,"dollars":0.000047},"sampling":{"temperature":1.0,"max_tokens":512,"seed":450713490}}}}');
INSERT INTO "podium_entries" VALUES('2b2ecaa87214',4,'completed',1,'{"directive":"2b2ecaa87214.0.0","call":{"id":"2b2ecaa87214.0.0.1.0","target":"bob","result":{"text":"surely 42","usage":{"input_tokens":41,"output_tokens":3,"calls":1,"dollars":0.000047},"sampling":{"temperature":1.0,"max_tokens":512,"seed":1004656611}}},"sample":1}');
INSERT INTO "podium_entries" VALUES('2b2ecaa87214',5,'completed',1,'{"directive":"2b2ecaa87214.0.0","call":{"id":"2b2ecaa87214.0.0.2.0","target":"bob","result":{"text":"43","usage":{"input_tokens":41,"output_tokens":1,"calls":1,"dollars":0.000042999999999999995},"sampling":{"temperature":1.0,"max_tokens":512,"seed":2083509710}}},"sample":2}');
INSERT INTO "podium_entries" VALUES('2b2ecaa87214',6,'node',1,'{"id":1,"parents":[0],"kind":"candidate","author":"bob","content":"it is 42","answer":"it is 42","calls":[{"id":"2b2ecaa87214.0.0.0","target":"bob","result":{"text":"it is 42","usage":{"input_tokens":41,"output_tokens":3,"calls":1,"dollars":0.000047},"sampling":{"temperature":1.0,"max_tokens":512,"seed":450713490}}}],"usage":{"input_tokens":41,"output_tokens":3,"calls":1,"dollars":0.000047},"clock":0.020359350000035192,"directive":"2b2ecaa87214.0.0"}');
INSERT INTO "podium_entries" VALUES('2b2ecaa87214',7,'node',1,'{"id":2,"parents":[0],"kind":"candidate","author":"bob","content":"surely 42","answer":"surely 42","calls":[{"id":"2b2ecaa87214.0.0.1.0","target":"bob","result":{"text":"surely 42","usage":{"input_tokens":41,"output_tokens":3,"calls":1,"dollars":0.000047},"sampling":{"temperature":1.0,"max_tokens":512,"seed":1004656611}}}],"usage":{"input_tokens":41,"output_tokens":3,"calls":1,"dollars":0.000047},"clock":0.020369574999676843,"directive":"2b2ecaa87214.0.0"}');
INSERT INTO "podium_entries" VALUES('2b2ecaa87214',8,'node',1,'{"id":3,"parents":[0],"kind":"candidate","author":"bob","content":"43","answer":"43","calls":[{"id":"2b2ecaa87214.0.0.2.0","target":"bob","result":{"text":"43","usage":{"input_tokens":41,"output_tokens":1,"calls":1,"dollars":0.000042999999999999995},"sampling":{"temperature":1.0,"max_tokens":512,"seed":2083509710}}}],"usage":{"input_tokens":41,"output_tokens":1,"calls":1,"dollars":0.000042999999999999995},"clock":0.02037116699921171,"directive":"2b2ecaa87214.0.0"}');
INSERT INTO "podium_entries" VALUES('2b2ecaa87214',9,'node',1,'{"id":4,"parents":[1,2,3],"kind":"reply","author":"bob","content":"it is 42","answer":"it is 42","clock":0.020397025999955076,"directive":"2b2ecaa87214.0.0"}');
INSERT INTO "podium_entries" VALUES('2b2ecaa87214',10,'decision',1,'{"id":"2b2ecaa87214.1","step":1,"action":[{"id":"2b2ecaa87214.1.0","agent":"bob"}],"policy":"random","mode":"sample","factors":[{"head":"pick","choice":1,"log_prob":-0.9808292530117262,"mask":[true,true,true]},{"head":"samples","choice":0,"log_prob":-1.0986122886681098,"mask":[true,true,true]}],"log_prob":-2.079441541679836,"reasons":{},"seen":5,"budget_left":[0.974,0.85,0.9999319162433342,1.0]}');
INSERT INTO "podium_entries" VALUES('2b2ecaa87214',11,'node',1,'{"id":5,"parents":[4],"kind":"reply","author":"bob","content":"it is 42","answer":"it is 42","calls":[{"id":"2b2ecaa87214.1.0.0","target":"bob","result":{"text":"it is 42","usage":{"input_tokens":45,"output_tokens":3,"calls":1,"dollars":0.000051},"sampling":{"temperature":1.0,"max_tokens":512,"seed":1131090454}}}],"usage":{"input_tokens":45,"output_tokens":3,"calls":1,"dollars":0.000051},"clock":0.02156476699929044,"directive":"2b2ecaa87214.1.0"}');
INSERT INTO "podium_entries" VALUES('2b2ecaa87214',12,'decision',1,'{"id":"2b2ecaa87214.2","step":2,"action":{"answer":5},"policy":"random","mode":"sample","factors":[{"head":"pick","choice":2,"log_prob":-1.3862943611198906,"mask":[true,true,true]}],"log_prob":-1.3862943611198906,"reasons":{},"seen":6,"budget_left":[0.9644,0.8,0.9999280832266686,1.0]}');
INSERT INTO "podium_entries" VALUES('2b2ecaa87214',13,'end',1,'{"stop":"answered","node":5,"usage":{"input_tokens":168,"output_tokens":10,"calls":4,"dollars":0.000188,"seconds":0.0},"seconds":0.021644063999701757}');
INSERT INTO "podium_entries" VALUES('cut',0,'head',1,'{"run":"cut","team":"desk","messages":[{"role":"user","content":"how much?"}],"started":1795314656.3518353,"seed":3,"reply_seed":3,"digest":"f4d4b1f4478c6a2aa3964541c432a5e9d9a21a050910258919216acfbb53323f"}');
INSERT INTO "podium_entries" VALUES('cut',1,'node',1,'{"id":0,"parents":[],"kind":"task","author":"user","content":"how much?"}');
INSERT INTO "podium_entries" VALUES('cut',2,'decision',1,'{"id":"cut.0","step":0,"action":[{"id":"cut.0.0","agent":"ann"}],"policy":"sequential","reasons":{}}');
CREATE TABLE podium_journal (
	form INTEGER NOT NULL
);
INSERT INTO "podium_journal" VALUES(4);
CREATE TABLE podium_questions (
	run TEXT NOT NULL, 
	id TEXT NOT NULL, 
	agent TEXT NOT NULL, 
	text TEXT NOT NULL, 
	approval INTEGER NOT NULL, 
	wait FLOAT NOT NULL, 
	asked FLOAT NOT NULL, 
	answer TEXT, 
	approved INTEGER, 
	answered FLOAT, 
	withdrawn FLOAT, 
	PRIMARY KEY (run, id)
);
CREATE TABLE podium_runs (
	run TEXT NOT NULL, 
	team TEXT NOT NULL, 
	started FLOAT NOT NULL, 
	task TEXT NOT NULL, 
	stop TEXT NOT NULL, 
	tokens BIGINT NOT NULL, 
	dollars FLOAT NOT NULL, owner TEXT, 
	PRIMARY KEY (run)
);
INSERT INTO "podium_runs" VALUES('b06b51ff10a3','desk',1.79531465635183525085e+09,'how much?','answered',221,2.28999999999999982649e-04,NULL);
INSERT INTO "podium_runs" VALUES('4d108330d4ee','desk',1.79531465639720821383e+09,'how much?','answered',507,0.000516,NULL);
INSERT INTO "podium_runs" VALUES('87a641c2eff9','desk',1.79531465642557287211e+09,'how much?','answered',448,4.61999999999999954106e-04,NULL);
INSERT INTO "podium_runs" VALUES('2b2ecaa87214','desk',1.79531465646513056755e+09,'how much?','answered',178,0.000188,NULL);
INSERT INTO "podium_runs" VALUES('cut','desk',1.79531465635183525085e+09,'how much?','unfinished',0,0.0,NULL);
CREATE INDEX podium_runs_stop ON podium_runs (stop, started);
CREATE INDEX podium_runs_started ON podium_runs (started);
COMMIT;
